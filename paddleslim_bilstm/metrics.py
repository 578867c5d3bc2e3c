"""How good answers are, by name; NumPy alone, so that prediction-only installs have it too.

Answers are what a model says of ``n`` sentences, as its task (``task``) has them: class ids, int64 ``[n]``, or
numbers, float32 ``[n]``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Callable

import numpy as np


@dataclass(frozen=True)
class Metric:
    """How well answers go with labels, or with another model's answers; higher is better.

    Attributes:
        name: in the YAML and in report.json.
        title: in a sentence.
        column: above its column of the report's table.
        of: ``of(labels, answers, outputs) -> float``, with the number of a model's outputs.
        in_percent: shown in percent, else as it is.
    """

    name: str
    title: str
    column: str
    of: Callable[[np.ndarray, np.ndarray, int], float]
    in_percent: bool = False

    def cell(self, value: float | None) -> str:
        """Return ``value`` for its column: ``0.8601 -> "86.0"`` in percent or ``"0.860"``, ``None -> "-"``."""
        return "-" if value is None else f"{value * 100:.1f}" if self.in_percent else f"{value:.3f}"

    def shown(self, value: float) -> str:
        """Return ``value`` for a sentence: ``0.8601 -> "86.0 %"`` or ``"0.860"``."""
        return self.cell(value) + " %" * self.in_percent


def accuracy(labels: np.ndarray, answers: np.ndarray) -> float:
    """Return the share of ``answers`` that equal ``labels`` (both int, shape ``[n]``), from 0 to 1."""
    _check(labels, answers)
    return float(np.mean(labels == answers))


def f1(labels: np.ndarray, answers: np.ndarray, num_classes: int, macro: bool = False) -> float:
    """Return F1 from 0 to 1: that of class 1 for two classes (as GLUE has it), macro-F1 for more or with ``macro``.

    A class that occurs neither in ``labels`` nor in ``answers`` does not enter the mean; class 1 of two that
    occurs in neither has F1 0. Equal to scikit-learn's ``f1_score`` with ``zero_division=0``.
    """
    _check(labels, answers)
    hits = np.bincount(labels[labels == answers], minlength=num_classes)
    occurrences = np.bincount(labels, minlength=num_classes) + np.bincount(answers, minlength=num_classes)
    scores = 2 * hits / np.maximum(occurrences, 1)
    return float(scores[1] if num_classes == 2 and not macro else scores[occurrences > 0].mean())


def matthews(labels: np.ndarray, answers: np.ndarray, num_classes: int) -> float:
    """Return Matthews' correlation coefficient from -1 to 1 (GLUE's metric for CoLA); 0 where either is constant.

    For more than two classes it is Gorodkin's R_K (2004), as in scikit-learn's ``matthews_corrcoef``.
    """
    _check(labels, answers)
    of_labels, of_answers = (np.bincount(ids, minlength=num_classes).astype(float) for ids in (labels, answers))
    total, right = len(labels), float(np.sum(labels == answers))
    spread = (total ** 2 - of_labels @ of_labels) * (total ** 2 - of_answers @ of_answers)
    return float((right * total - of_labels @ of_answers) / np.sqrt(spread)) if spread > 0 else 0.0


def pearson(labels: np.ndarray, answers: np.ndarray) -> float:
    """Return Pearson's correlation coefficient of two ``[n]`` arrays, from -1 to 1; 0 where either is constant."""
    _check(labels, answers)
    one, other = (values.astype(np.float64) - values.mean(dtype=np.float64) for values in (labels, answers))
    spread = np.sqrt((one @ one) * (other @ other))
    return float(one @ other / spread) if spread > 0 else 0.0


def spearman(labels: np.ndarray, answers: np.ndarray) -> float:
    """Return Spearman's rank correlation: Pearson's of the ranks, of which equal values share the mean."""
    _check(labels, answers)
    return pearson(_ranks(labels), _ranks(answers))


def _ranks(values: np.ndarray) -> np.ndarray:
    """``[30, 10, 30] -> [2.5, 1, 2.5]``, float64."""
    _, where, counts = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts - 1) / 2)[where]


def _check(labels: np.ndarray, answers: np.ndarray) -> None:
    if labels.shape != answers.shape or not len(labels):
        raise ValueError(f"need as many predictions as labels, and at least one: {answers.shape}, {labels.shape}")


CLASS_METRICS = (
    Metric("accuracy", "accuracy", "acc %", lambda labels, answers, _: accuracy(labels, answers), in_percent=True),
    Metric("f1", "F1", "F1 %", f1, in_percent=True),
    Metric("macro_f1", "macro-F1", "macro-F1 %", lambda *of: f1(*of, macro=True), in_percent=True),
    Metric("matthews", "Matthews correlation", "Matthews", matthews))
VALUE_METRICS = (
    Metric("pearson", "Pearson correlation", "Pearson", lambda labels, answers, _: pearson(labels, answers)),
    Metric("spearman", "Spearman correlation", "Spearman", lambda labels, answers, _: spearman(labels, answers)))
AGREEMENT = Metric("agreement", "agreement with the teacher", "agree %",
                   lambda labels, answers, _: accuracy(labels, answers), in_percent=True)
CORRELATION = Metric("correlation", "correlation with the teacher", "corr.",
                     lambda labels, answers, _: pearson(labels, answers))
