"""How long students are trained, and how often they are looked at."""

from dataclasses import replace

import numpy as np
import paddle
import pytest
from test_student import SPEC, TOKENIZER, accuracy, adam, token_sum_task, weights_for

from paddleslim_bilstm.config import load_config
from paddleslim_bilstm.student import recipe as recipe_module
from paddleslim_bilstm.student.losses import logit_mse
from paddleslim_bilstm.student.program import TrainingProgram
from paddleslim_bilstm.student.recipe import Recipe, Student, StudentText


def student_of(data):
    sentences = data.sentences
    return Student(SPEC, weights_for(), StudentText(TOKENIZER.framing, sentences, sentences, sentences, {}))


@pytest.mark.parametrize("train_config, distilled_steps, alone_steps", [
    ({}, 40, 40),                                # small data: the fewest steps
    ({"epochs": 3}, 12, 20),                     # what the config says; the Bi-LSTM alone never under five epochs
    ({"epochs": 30, "train_iter": 25}, 25, 25),  # whichever comes first
    ({"train_iter": 70}, 70, 40),
    ({"train_iter": 13}, 13, 13),
])
def test_small_data_is_gone_through_more_often(tmp_path, monkeypatch, train_config, distilled_steps, alone_steps):
    paddle.enable_static()
    monkeypatch.setattr(recipe_module, "_FEWEST_STEPS", 40)
    data = token_sum_task(400)  # four batches
    settings = load_config({"Global": {"model_dir": "teacher", "train_file": "t.tsv", "dev_file": "d.tsv"},
                            "bert_to_bilstm": {"batch_size": 100}, "TrainConfig": train_config})
    recipe = Recipe(settings, logit_mse, adam, accuracy(data), "dev", tmp_path)
    distilled = recipe.distil(student_of(data), data)
    alone = recipe.train_alone(student_of(data), data.labels)
    assert [distilled.evaluations[-1][0], alone.evaluations[-1][0]] == [distilled_steps, alone_steps]
    for student in (distilled, alone):
        assert 10 <= len(student.evaluations) <= 13
        assert student.metric == max(metric for _, metric, _ in student.evaluations)


def test_what_is_logged_makes_no_other_student(tmp_path):
    paddle.enable_static()
    data = token_sum_task(400)
    for logging_iter in (None, 2):
        settings = load_config({"bert_to_bilstm": None, "TrainConfig": {"train_iter": 4, "logging_iter": logging_iter}})
        Recipe(settings, logit_mse, adam, None, "dev", tmp_path).distil(student_of(data), data)
    assert len(list(tmp_path.iterdir())) == 1


def test_eval_iter_of_the_config_wins(tmp_path):
    paddle.enable_static()
    data = token_sum_task(400)
    settings = load_config({"Global": {"model_dir": "teacher", "train_file": "t.tsv", "dev_file": "d.tsv"},
                            "bert_to_bilstm": {"batch_size": 100}, "TrainConfig": {"epochs": 3, "eval_iter": 6}})
    recipe = Recipe(settings, logit_mse, adam, accuracy(data), "dev", tmp_path)
    student = recipe.distil(student_of(data), data)
    assert np.array(student.evaluations)[:, 0].tolist() == [6, 12]


@pytest.fixture
def with_variants(tmp_path, monkeypatch):
    """A recipe and data of 100 originals, the even ones with five variants each, of which some can be held out."""
    paddle.enable_static()
    monkeypatch.setattr(recipe_module, "_ONE_HELD_OUT_OF", 10)
    monkeypatch.setattr(recipe_module, "_FEWEST_HELD_OUT", 20)
    source = np.repeat(np.arange(100), np.where(np.arange(100) % 2, 1, 5))
    data = replace(token_sum_task(len(source)), source=source)
    return Recipe(settings_of(), logit_mse, adam, accuracy(data), "dev", tmp_path), data


def settings_of(**distill):
    return load_config({"Global": {"model_dir": "teacher", "train_file": "t.tsv", "dev_file": "d.tsv"},
                        "bert_to_bilstm": {"batch_size": 30, **distill},
                        "TrainConfig": {"train_iter": 40, "eval_iter": 5}})


def test_what_chooses_the_student_was_never_learned_from(with_variants, monkeypatch):
    recipe, data = with_variants
    steps, scores, closeness = [], [], recipe_module.closeness_to
    take_step = TrainingProgram.step
    monkeypatch.setattr(TrainingProgram, "step", lambda self, data, batch, number: (
        steps.append(batch), take_step(self, data, batch, number))[1])

    def watched(logits, sentences, reader):
        choose = closeness(logits, sentences, reader)
        return lambda *program: scores.append(choose(*program) - abs(len(scores) - 4)) or scores[-1]

    monkeypatch.setattr(recipe_module, "closeness_to", watched)
    trained = recipe.distil(student_of(data), data)
    learned = np.unique(np.concatenate(steps))
    held_out = np.setdiff1d(np.arange(len(data.sentences)), learned)
    assert 20 <= len(held_out) <= 30
    assert not set(data.source[held_out]) & set(data.source[learned])
    assert len(scores) == 8 and trained.step == 5 * (1 + int(np.argmax(scores))) == 25
    assert trained.metric == next(metric for step, metric, _ in trained.evaluations if step == trained.step)
    assert f"{len(held_out)} sentences" in trained.chosen_by


def test_the_error_on_sentences_held_out_is_the_students(with_variants):
    recipe, data = with_variants
    student = student_of(data)
    sentences, logits = data.sentences.take(np.arange(70)), data.logits[:70]
    answers = {}

    def evaluate(*program):
        choose = recipe_module.closeness_to(logits, sentences, TOKENIZER.framing)
        answers["closeness"] = choose(*program)
        executor, drop_in, feeds, fetches = program
        each = [executor.run(drop_in, dict(zip(feeds, TOKENIZER.framing.batch(sentences, np.array([row])))), fetches)[0]
                for row in range(70)]
        answers["by hand"] = -np.mean((np.concatenate(each) - logits) ** 2)
        return 0.0

    replace(recipe, evaluate=evaluate, user_chooses=True).distil(student, data)
    assert answers["closeness"] == pytest.approx(answers["by hand"], rel=1e-4)


@pytest.mark.parametrize("reason, changed", [
    ("the user's own evaluation chooses", {"user_chooses": True}),
    ("it learns from labels, too", {"alpha": 0.5}),
    ("few sentences would be held out", {"fewest": 61}),
    ("nobody knows the originals", {"source": None}),
])
def test_where_nothing_is_held_out_the_metric_chooses(with_variants, monkeypatch, reason, changed):
    recipe, data = with_variants
    monkeypatch.setattr(recipe_module, "_FEWEST_HELD_OUT", changed.get("fewest", 20))
    recipe = replace(recipe, settings=settings_of(alpha=changed.get("alpha", 0.0)),
                     user_chooses=changed.get("user_chooses", False))
    data = replace(data, source=changed.get("source", data.source))
    trained = recipe.distil(student_of(data), data)
    assert trained.chosen_by is None, reason
    assert trained.metric == max(metric for _, metric, _ in trained.evaluations)
