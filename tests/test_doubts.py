"""A run that is going wrong says so: swapped labels, another task's teacher, models that answer one thing."""

from __future__ import annotations

import logging

import numpy as np
import pytest
from reviews import make_reviews

from paddleslim_bilstm import compress
from paddleslim_bilstm.predict import Predictor  # noqa: F401  (with Paddle's CPU settings)
from paddleslim_bilstm.task import CLASSIFICATION, REGRESSION, fitting_classes

NAMES = ("bad", "fair", "good")
teacher_doubts, one_answer = CLASSIFICATION.teacher_doubts, CLASSIFICATION.one_answer


def answers_like(labels: np.ndarray, order: list[int], right: float = 0.9) -> np.ndarray:
    """Return what a teacher answers that means class ``order[i]`` by label ``i`` and is mostly right."""
    rng = np.random.default_rng(0)
    return np.where(rng.random(len(labels)) < right, np.array(order)[labels], rng.integers(0, len(order), len(labels)))


LABELS = np.arange(300) % 3


@pytest.mark.parametrize("order, told", [
    ([1, 0, 2], "bad as fair, fair as bad"), ([1, 2, 0], "bad as fair, fair as good, good as bad"),
    ([2, 1, 0], "bad as good, good as bad")])
def test_every_order_of_the_labels_is_recognised_and_told(order, told):
    doubt, = teacher_doubts(LABELS, answers_like(LABELS, order), NAMES)
    assert "SWAPPED" in doubt and f"if one reads {told};" in doubt


def test_a_good_teacher_raises_no_doubt():
    assert teacher_doubts(LABELS, answers_like(LABELS, [0, 1, 2]), NAMES) == []
    assert teacher_doubts(LABELS[:30], answers_like(LABELS[:30], [1, 0, 2]), NAMES) == []  # too few to tell
    assert teacher_doubts(None, answers_like(LABELS, [1, 0, 2]), NAMES) == []


def test_another_tasks_teacher_is_doubted():
    labels = np.array([0] * 70 + [1] * 30)
    doubt, = teacher_doubts(labels, np.array([0, 1] * 50), ("no", "yes"))
    assert "another task's teacher" in doubt and "70.0%" in doubt
    assert fitting_classes(labels, np.array([0, 1] * 50), 2) is None


def test_a_regression_whose_labels_are_reversed():
    numbers = np.linspace(0, 5, 60, dtype=np.float32)
    doubt, = REGRESSION.teacher_doubts(numbers, -numbers, ("score",))
    assert "reversed" in doubt
    assert REGRESSION.teacher_doubts(numbers, numbers, ("score",)) == []


def test_a_model_that_always_answers_the_same():
    doubt, = one_answer("distilled", np.full(60, 2), NAMES)
    assert doubt.startswith("DISTILLED ANSWERS THE SAME TO ALL 60 DEV SENTENCES: good")
    assert REGRESSION.one_answer("distilled", np.full(60, 0.5), ("score",))[0].count("0.5") == 1
    assert one_answer("distilled", LABELS, NAMES) == []
    doubt, = teacher_doubts(None, np.zeros(60, np.int64), NAMES, "training sentences")
    assert doubt.startswith("THE TEACHER ANSWERS THE SAME TO ALL 60 TRAINING SENTENCES: bad")
    assert teacher_doubts(LABELS, np.zeros(300, np.int64), NAMES)[0].startswith("THE TEACHER ANSWERS THE SAME")


def test_doubts_are_logged_during_the_run_and_stand_in_the_report(tiny_teacher, tmp_path, caplog):
    rows = make_reviews(160, seed=5)
    teacher = tiny_teacher()
    config = {"Global": {"model_dir": str(teacher), "save_dir": str(tmp_path / "out"),
                         "cache_dir": str(tiny_teacher.seed(tmp_path / "cache", teacher)), "max_seq_length": 64},
              "bert_to_bilstm": {"student": {"embed_dim": 4, "hidden_size": 4, "pooling": "last"},
                                 "train_alone": False},
              "DataAugmentation": {"n_iter": 0}, "TrainConfig": {"train_iter": 1, "learning_rate": 1e-9}}
    with caplog.at_level(logging.WARNING):  # a student that has not learned anything
        notes = compress(config, train=rows[:60], dev=rows[60:]).report.notes
    assert any(note.startswith("DISTILLED ANSWERS THE SAME TO ALL 100 DEV SENTENCES") for note in notes)
    assert all(note in caplog.text for note in notes if "ANSWERS THE SAME" in note)
    assert "DISTILLED ANSWERS THE SAME" in (tmp_path / "out" / "report.md").read_text(encoding="utf-8")
