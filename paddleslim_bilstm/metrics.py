"""How good answers are, by name; NumPy alone, so that prediction-only installs have it too.

Answers are what a model says of ``n`` sentences, as its task (``task``) has them: class ids, int64 ``[n]``; numbers,
float32 ``[n]``; or, of several labels a text, float32 ``[n, labels]``, where what is above 0 is a yes, the higher the
surer. Labels of such a task are 1 or 0.
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


def f1_by_label(labels: np.ndarray, answers: np.ndarray) -> np.ndarray:
    """Return the F1 of each label, float64 ``[labels]``; NaN for one that occurs in neither."""
    hits, occurrences = _hits_and_occurrences(labels, answers)
    return np.where(occurrences > 0, 2 * hits / np.maximum(occurrences, 1), np.nan)


def micro_f1(labels: np.ndarray, answers: np.ndarray) -> float:
    """Return F1 over all decisions, a label of a text each, from 0 to 1; 0 where there is no yes on either side.

    Equal to scikit-learn's ``f1_score(average="micro")``.
    """
    hits, occurrences = _hits_and_occurrences(labels, answers)
    return float(2 * hits.sum() / max(occurrences.sum(), 1))


def label_macro_f1(labels: np.ndarray, answers: np.ndarray) -> float:
    """Return the mean of `f1_by_label`, without labels that occur in neither.

    Equal to scikit-learn's ``f1_score(average="macro", zero_division=np.nan)``.
    """
    scores = f1_by_label(labels, answers)
    known = scores[~np.isnan(scores)]
    return float(known.mean()) if len(known) else 0.0


def exact_match(labels: np.ndarray, answers: np.ndarray) -> float:
    """Return the share of texts with all labels right (scikit-learn's ``accuracy_score`` of a label matrix)."""
    _check(labels, answers)
    return float(((labels > 0) == (answers > 0)).all(axis=1).mean())


def mean_average_precision(labels: np.ndarray, answers: np.ndarray) -> float:
    """Return the mean over labels of their average precision, without labels that no text has.

    Equal to scikit-learn's ``average_precision_score(average="macro")`` on the labels that a text has. Thresholds don't
    count: only the order of a label's answers does.
    """
    _check(labels, answers)
    found = [_average_precision(truth > 0, scores) for truth, scores in zip(labels.T, answers.T) if (truth > 0).any()]
    return float(np.mean(found)) if found else 0.0


def _average_precision(truth: np.ndarray, scores: np.ndarray) -> float:
    """The precision at each score, times the share of the true ones that has it: ``[1, 0, 1], [3, 2, 1] -> 5 / 6``."""
    order = np.argsort(-scores, kind="stable")
    last = np.append(np.diff(scores[order]) != 0, True)  # of equal scores
    hits, counts = np.cumsum(truth[order])[last], np.flatnonzero(last) + 1
    return float(np.diff(hits, prepend=0) @ (hits / counts) / hits[-1])


def _hits_and_occurrences(labels: np.ndarray, answers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return how often each label is rightly answered, and its true and answered occurrences together."""
    _check(labels, answers)
    truth, found = labels > 0, answers > 0
    return (truth & found).sum(axis=0), truth.sum(axis=0) + found.sum(axis=0)


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
LABEL_METRICS = (
    Metric("micro_f1", "micro-F1", "micro-F1 %", lambda labels, answers, _: micro_f1(labels, answers), in_percent=True),
    Metric("macro_f1", "macro-F1", "macro-F1 %", lambda labels, answers, _: label_macro_f1(labels, answers),
           in_percent=True),
    Metric("exact_match", "share of texts with all labels right", "exact %",
           lambda labels, answers, _: exact_match(labels, answers), in_percent=True),
    Metric("mean_average_precision", "mean average precision", "mAP %",
           lambda labels, answers, _: mean_average_precision(labels, answers), in_percent=True))
AGREEMENT = Metric("agreement", "agreement with the teacher", "agree %",
                   lambda labels, answers, _: accuracy(labels, answers), in_percent=True)
CORRELATION = Metric("correlation", "correlation with the teacher", "corr.",
                     lambda labels, answers, _: pearson(labels, answers))
SAME_LABELS = Metric(AGREEMENT.name, AGREEMENT.title, AGREEMENT.column,
                     lambda labels, answers, _: exact_match(labels, answers), in_percent=True)
