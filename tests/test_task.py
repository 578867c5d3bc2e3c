"""What a label is: the same questions to every task, and a task that is written here goes through a whole job."""

import json
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np
import paddle
import pytest
from reviews import make_reviews
from teachers import make_tiny_teacher

from paddleslim_bilstm import compress
from paddleslim_bilstm.cli import main
from paddleslim_bilstm.config import GlobalConfig, load_config
from paddleslim_bilstm.errors import UserError
from paddleslim_bilstm.metrics import Metric
from paddleslim_bilstm.predict import Predictor
from paddleslim_bilstm.stages import Origins, lesson
from paddleslim_bilstm.student.spec import StudentSpec
from paddleslim_bilstm.task import (
    CLASSIFICATION,
    MULTI_LABEL,
    NO_LABEL,
    REGRESSION,
    TASKS,
    Answer,
    Task,
    task_code,
    task_named,
    task_of_outputs,
)
from paddleslim_bilstm.teacher.text import TrainingText
from paddleslim_bilstm.text import load_dataset
from paddleslim_bilstm.tokens import Sentences

pytestmark = pytest.mark.usefixtures("in_old_programs")


class Stars(Task):
    """A label is a number of stars from 1 to 5, which the one output answers, rounded."""

    name = "stars"
    metrics = (Metric("right", "share of texts with the right stars", "right %",
                      lambda labels, answers, _: float((labels == answers).mean()), in_percent=True),
               Metric("near", "share of texts at most one star off", "near %",
                      lambda labels, answers, _: float((np.abs(labels - answers) <= 1).mean()), in_percent=True))
    dtype = "float32"
    missing = np.nan
    some_names = ("stars",)

    @dataclass(frozen=True)
    class Rated(Answer):
        stars: int

        def as_json(self, label_names):
            return {"stars": self.stars}

    def fits(self, outputs):
        return outputs == 1

    def read_label(self, label, where):
        label = super().read_label(label, where)
        if label not in tuple("12345"):
            raise UserError(f"{where}: the label is {label}; it must be 1 to 5 stars")
        return label

    def scheme(self, train, dev, outputs, names):
        return SimpleNamespace(names=("stars",), ids_of=lambda labels: np.array([float(one) for one in labels], "f4"))

    def has_label(self, labels):
        return ~np.isnan(labels)

    def hard_loss(self, logits, labels):
        known = paddle.logical_not(paddle.isnan(labels))
        errors = paddle.where(known, paddle.squeeze(logits, axis=1) - labels, paddle.zeros_like(labels))
        return paddle.sum(errors * errors) / paddle.clip(paddle.sum(paddle.cast(known, "float32")), min=1.0)

    def answers_of(self, logits):
        return np.clip(np.rint(logits[:, 0]), 1, 5)

    def predictions(self, logits, label_names):
        return [self.Rated(int(stars)) for stars in self.answers_of(logits)]

    def in_words(self, answer, label_names):
        return f"{answer:g} stars"

    def how_measured(self, sentences):
        return ["- **right, near**: the share of texts with the right stars, or at most one off."]


STARS = Stars()


@pytest.fixture
def stars(monkeypatch):
    monkeypatch.setitem(TASKS, STARS.name, STARS)


def test_the_code_of_a_users_task_counts_and_ours_does_not(stars, monkeypatch):
    assert task_code(None) == task_code("multi_label") == ()
    before = task_code("stars")
    monkeypatch.setattr(Stars, "missing", -1.0)
    assert len(before) == 1 and task_code("stars") != before


@dataclass(frozen=True)
class Expected:
    """What a task answers."""

    task: Task
    names: tuple                # of the outputs
    written: tuple              # labels as a user writes them, the second one other than the first
    labels: list                # what they are
    dtype: str
    logits: list                # of as many sentences
    answers: list
    json: list
    words: str                  # the first answer
    metrics: tuple
    scores: tuple               # of the answers against the labels
    shown: tuple
    hard_loss: float            # of the first two
    in_batch: float             # the share of it that stays in a batch with a third that has no label
    first_bias: Any


LOG = np.log
TABLE = [
    Expected(CLASSIFICATION, ("bad", "good"), ("good", "bad", "Good"), [1, 0, 1], "int64",
             [[0, LOG(3)], [0, LOG(3)], [LOG(4), 0]], [1, 1, 0],
             [{"label": "good", "probabilities": {"bad": 0.25, "good": 0.75}}] * 2
             + [{"label": "bad", "probabilities": {"bad": 0.8, "good": 0.2}}], "good",
             ("accuracy", "f1", "macro_f1", "matthews"), (1 / 3, 0.5, 0.25, -0.5), ("accuracy", "f1"),
             (LOG(4 / 3) + LOG(4)) / 2, 1, None),
    Expected(REGRESSION, ("score",), (0.5, "3", 2.5), [0.5, 3, 2.5], "float32",
             [[1], [3], [2]], [1, 3, 2], [{"score": 1.0}, {"score": 3.0}, {"score": 2.0}], "1",
             ("pearson", "spearman"), (2.5 / 7 ** 0.5, 1.0), ("pearson", "spearman"), (0.25 + 0) / 2, 1, [2.0]),
    Expected(MULTI_LABEL, ("food", "room"), (["food"], "room,food", []), [[1, 0], [1, 1], [0, 0]], "float32",
             [[0, -9], [LOG(3), LOG(3)], [-LOG(3), LOG(4)]],
             [[0, -9], [np.float32(LOG(3))] * 2, [np.float32(-LOG(3)), np.float32(LOG(4))]],
             [{"labels": [], "probabilities": {"food": 0.5, "room": 0.000123}},
              {"labels": ["food", "room"], "probabilities": {"food": 0.75, "room": 0.75}},
              {"labels": ["room"], "probabilities": {"food": 0.25, "room": 0.8}}], "none of the labels",
             ("micro_f1", "macro_f1", "exact_match", "mean_average_precision"),
             (2 / 3, 2 / 3, 1 / 3, (1 + 1 / 2) / 2),
             ("micro_f1", "macro_f1", "exact_match", "mean_average_precision"),
             (LOG(2) + np.log1p(np.exp(-9)) + 2 * LOG(4 / 3)) / 4, 1,
             [np.float32(LOG(0.6 / 0.4)), np.float32(LOG(0.4 / 0.6))]),
    Expected(STARS, ("stars",), (4, "5", 1.0), [4, 5, 1], "float32", [[3.6], [9], [2]], [4, 5, 2],
             [{"stars": 4}, {"stars": 5}, {"stars": 2}], "4 stars", ("right", "near"), (2 / 3, 1), ("right", "near"),
             (0.4 ** 2 + 16) / 2, 1, None),
]
each_task = pytest.mark.parametrize("expected", TABLE, ids=lambda one: one.task.name)


@each_task
def test_labels_are_read(expected, stars):
    rows = [(f"text {number}", label) for number, label in enumerate(expected.written)]
    config = GlobalConfig(task=expected.task.name)
    data = load_dataset(config, len(expected.names), expected.names, train=rows, dev=rows)
    assert data.train_labels.dtype == expected.dtype and tuple(data.label_names) == expected.names
    assert data.train_labels.tolist() == data.dev_labels.tolist() == expected.labels
    with pytest.raises(UserError, match="train: every row has the labels? .*; add rows"):
        load_dataset(config, len(expected.names), expected.names, train=rows[:1], dev=rows)


@each_task
def test_a_sentence_without_a_label_is_marked(expected):
    labels = np.array(expected.labels, expected.dtype)
    marked = expected.task.with_unlabelled(labels, 2)
    assert marked.dtype == labels.dtype and marked.shape[1:] == expected.task.label_shape(len(expected.names))
    assert expected.task.has_label(marked).tolist() == [True, True, True, False, False]


@pytest.mark.parametrize("task, labels, expected", [
    (CLASSIFICATION, [1, 0, 0, 2], 0), (CLASSIFICATION, [2, 0, 0, 2], 2), (REGRESSION, [0.5, 1, 3], 1.5),
    (MULTI_LABEL, [[1, 0], [1, 1], [1, 0], [0, 1]], [0.75, 0.5]), (STARS, [4, 5, 5], 5), (REGRESSION, [0.1] * 3, 0.1)])
def test_rows_of_one_text_have_one_label(task, labels, expected):
    labels = np.array(labels, task.dtype)
    one = task.one_label(labels)
    assert one.dtype == labels.dtype and one.tolist() == np.array(expected, task.dtype).tolist()


def test_the_transfer_set_is_taught_the_one_label_of_each_text():
    """It has a text once, as the first row; what is made of any of its rows has the same label."""
    sentences = Sentences.from_lists([[5, 6], [5, 6], [7], [5, 6], [7], [8], [8]])
    text = TrainingText(sentences, np.array([0, 1, 1, 1, NO_LABEL, NO_LABEL, NO_LABEL]), None, sentences, None, (), {})
    settings = load_config({"Global": {"task": "classification"}, "bert_to_bilstm": {"alpha": 0.5}})
    student = SimpleNamespace(text=SimpleNamespace(transfer=None))
    answers = SimpleNamespace(logits=None, key="", hints=None)
    made = SimpleNamespace(source=np.array([0, 2, 5, 1, 4, 6]))
    assert lesson(settings, student, answers, Origins(text, made)).labels.tolist() == [1, 1, NO_LABEL, 1, 1, NO_LABEL]
    assert text.train_labels[0] == 0


@each_task
def test_answers_predictions_and_metrics_come_from_logits(expected):
    task, outputs, logits = expected.task, len(expected.names), np.array(expected.logits, np.float32)
    labels = np.array(expected.labels, expected.dtype)
    answers = task.answers_of(logits)
    assert answers.tolist() == expected.answers
    shown = [one.as_json(expected.names) for one in task.predictions(logits, expected.names)]
    assert shown == expected.json
    assert task.in_words(answers[0], expected.names) == expected.words
    assert tuple(metric.name for metric in task.metrics) == expected.metrics
    assert [task.score_logits(name, labels, logits) for name in expected.metrics] == pytest.approx(expected.scores)
    assert task.shown_metrics(expected.metrics[0], outputs) == expected.shown
    assert task.likeness.of(answers, answers, outputs) == pytest.approx(1)
    with pytest.raises(ValueError):
        task.likeness.of(answers, answers[:1], outputs)


@each_task
def test_the_hard_loss_is_that_of_known_labels_in_programs_as_in_tensors(expected):
    task, logits = expected.task, np.array(expected.logits, np.float32)
    labels = np.array(expected.labels, expected.dtype)[:2]
    paddle.enable_static()
    program = paddle.static.Program()
    with paddle.static.program_guard(program):
        feeds = [paddle.static.data("logits", [-1, logits.shape[1]], "float32"),
                 paddle.static.data("labels", [-1, *task.label_shape(logits.shape[1])], task.dtype)]
        loss = task.hard_loss(*feeds)
    executor = paddle.static.Executor(paddle.CPUPlace())

    def loss_of(*arrays: np.ndarray) -> float:
        return float(executor.run(program, feed=dict(zip(("logits", "labels"), arrays)), fetch_list=[loss])[0])

    assert loss_of(logits[:2], labels) == pytest.approx(expected.hard_loss, rel=1e-5)
    assert loss_of(logits, task.with_unlabelled(labels, 1)) == pytest.approx(expected.in_batch * expected.hard_loss,
                                                                              rel=1e-5)
    paddle.disable_static()
    try:
        tensors = task.finetune_loss(paddle.to_tensor(logits[:2]), paddle.to_tensor(labels))
        assert float(tensors) == pytest.approx(expected.hard_loss, rel=1e-5)
    finally:
        paddle.enable_static()


@each_task
def test_training_starts_where_the_task_says(expected):
    bias = expected.task.first_bias(np.array(expected.labels, expected.dtype))
    assert (bias if bias is None else bias.tolist()) == expected.first_bias


@each_task
def test_the_configuration_knows_task_and_metrics(expected, stars):
    def read(**global_):
        return load_config({"Global": {"task": expected.task.name, **global_}, "bert_to_bilstm": {}}).global_

    assert read().chosen_metric == expected.metrics[0] and task_named(read().task) is expected.task
    assert [read(metric=name).chosen_metric for name in expected.metrics] == list(expected.metrics)
    other = next(one.task.metrics[0].name for one in TABLE if one.task is not expected.task)
    with pytest.raises(UserError, match=f"Global.metric: {other} is no metric of a {expected.task.name}; valid: "
                                        f"{', '.join(expected.metrics)}"):
        read(metric=other)


def test_an_unknown_task_is_refused_with_those_that_there_are(stars):
    with pytest.raises(UserError, match="Global.task: must be 'classification', 'regression', 'multi_label' or "
                                        "'stars', not 'rank'"):
        load_config({"Global": {"task": "rank"}, "bert_to_bilstm": {}})


def test_the_number_of_outputs_tells_the_task_where_nothing_else_does():
    assert [task_of_outputs(outputs).name for outputs in (1, 2, 7)] == ["regression", *["classification"] * 2]
    assert StudentSpec(2, 2, 1, ("score",), 0, 8).task is REGRESSION
    assert StudentSpec(2, 2, 1, ("no", "yes"), 0, 8).task is CLASSIFICATION
    with pytest.raises(UserError, match="Global.task: is regression, but the teacher has 2 outputs; set it to "
                                        "classification"):
        REGRESSION.check_teacher(2)
    with pytest.raises(UserError, match="the teacher has 1 output; set it to regression"):
        CLASSIFICATION.check_teacher(1)
    REGRESSION.check_teacher(1), CLASSIFICATION.check_teacher(7)


def test_a_task_of_ones_own_goes_through_the_whole_job(stars, tmp_path, capsys):
    teacher = make_tiny_teacher(tmp_path / "teacher", num_classes=1)
    rows = [(text, 1 + 2 * ("film" in text.split()) + ("not" in text.split())) for text, _ in make_reviews(300, seed=5)]
    config = {"Global": {"model_dir": str(teacher), "save_dir": str(tmp_path / "out"), "task": "stars",
                         "cache_dir": str(tmp_path / "cache"), "max_seq_length": 64},
              "bert_to_bilstm": {"student": {"embed_dim": 16, "hidden_size": 16}, "batch_size": 16, "alpha": 1.0},
              "DataAugmentation": {"n_iter": 0}, "QuantBiLSTM": {"max_accuracy_drop": 0.5},
              "TrainConfig": {"epochs": 12, "eval_iter": 50, "learning_rate": 0.01}}
    report = compress(config, train=rows[:200], dev=rows[220:], unlabeled=[text for text, _ in rows[200:220]]).report
    labels = [label for _, label in rows[220:]]
    always_one = max(labels.count(label) for label in labels) / len(labels)
    by_name = {row.name: row for row in report.models}
    assert by_name["teacher"].agreement == 1  # with itself; nobody taught it these stars
    assert by_name["distilled"].scores["right"] > always_one + 0.2
    assert by_name["Bi-LSTM alone"].scores["right"] > always_one + 0.2
    assert "share of texts with the right stars" in report.headline and report.labels == ()
    assert "right %" in report.table and "near %" in report.table and "acc" not in report.table
    assert "**right, near**: the share" in (tmp_path / "out" / "report.md").read_text(encoding="utf-8")
    written = json.loads((tmp_path / "out" / "report.json").read_text(encoding="utf-8"))
    assert "labels texts (`stars`)" in (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
    assert written["metric"] == "right" and written["models"][-1]["right"] == by_name["QuantBiLSTM"].scores["right"]

    predictor = Predictor(tmp_path / "out", "onnx")
    right = np.mean([answer.stars == label for answer, label in zip(predictor.predict(
        [text for text, _ in rows[220:]]), labels)])
    assert right == pytest.approx(by_name["distilled"].scores["right"])
    (tmp_path / "dev.jsonl").write_text("".join(json.dumps({"text": text, "label": label}) + "\n"
                                                for text, label in rows[220:]))
    capsys.readouterr()
    assert main(["evaluate", str(tmp_path / "out"), "--data", str(tmp_path / "dev.jsonl"), "--runtime", "onnx"]) == 0
    assert json.loads(capsys.readouterr().out)["right"] == pytest.approx(right)
    assert main(["predict", str(tmp_path / "out"), "--input", str(tmp_path / "dev.jsonl")]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[0]).keys() == {"text", "stars"}
