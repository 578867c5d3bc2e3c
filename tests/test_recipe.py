"""How long students are trained, and how often they are looked at."""

import numpy as np
import paddle
import pytest
from test_student import SPEC, TOKENIZER, accuracy, adam, token_sum_task, weights_for

from paddleslim_bilstm.config import load_config
from paddleslim_bilstm.student import recipe as recipe_module
from paddleslim_bilstm.student.losses import logit_mse
from paddleslim_bilstm.student.recipe import Recipe, Student, StudentText


def student_of(data):
    sentences = data.sentences
    return Student(SPEC, weights_for(), StudentText(TOKENIZER.framing, sentences, sentences, sentences, {}))


@pytest.mark.parametrize("train_config, distilled_steps, alone_steps", [
    ({}, 40, 40),                                # small data: the fewest steps
    ({"epochs": 3}, 12, 20),                     # what the config says; the Bi-LSTM alone never under five epochs
    ({"epochs": 30, "train_iter": 25}, 25, 25),  # whichever comes first
    ({"train_iter": 70}, 70, 40),
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
