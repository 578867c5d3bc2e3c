"""How good answers are, by name; NumPy alone, so that prediction-only installs have it too.

Answers are what a model says of ``n`` sentences: class ids, int64 ``[n]``, or the numbers of a regression (a model
with one output, here one "class"), float32 ``[n]``.
"""

from __future__ import annotations

import numpy as np

CLASSIFICATION, REGRESSION = "classification", "regression"  # the tasks
CLASS_METRICS = ("accuracy", "f1", "macro_f1", "matthews")
VALUE_METRICS = ("pearson", "spearman")
TITLES = {"accuracy": "accuracy", "f1": "F1", "macro_f1": "macro-F1", "matthews": "Matthews correlation",
          "pearson": "Pearson correlation", "spearman": "Spearman correlation"}


def answers_of(logits: np.ndarray) -> np.ndarray:
    """Return the answers behind logits ``[n, classes]``: the likeliest classes, or the one output of a regression."""
    return logits[:, 0] if logits.shape[1] == 1 else logits.argmax(axis=1)


def score(metric: str, labels: np.ndarray, answers: np.ndarray, num_classes: int) -> float:
    """Return the metric called ``metric`` of ``answers`` against ``labels``, both ``[n]``; higher is better.

    Raises:
        ValueError: the shapes differ, or there are no labels.
    """
    if metric == "accuracy":
        return accuracy(labels, answers)
    if metric == "matthews":
        return matthews(labels, answers, num_classes)
    if metric == "pearson":
        return pearson(labels, answers)
    if metric == "spearman":
        return spearman(labels, answers)
    return f1(labels, answers, num_classes, macro=metric == "macro_f1")


def shown(metric: str, num_classes: int) -> tuple[str, ...]:
    """Return the metrics that a report shows: accuracy, F1, and ``metric`` where it is another one.

    For more than two classes ``f1`` and ``macro_f1`` are the same. A regression has both correlations.
    """
    if num_classes == 1:
        return VALUE_METRICS
    same = {"macro_f1": "f1"} if num_classes > 2 else {}
    return tuple(dict.fromkeys(("accuracy", "f1", same.get(metric, metric))))


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


def agreement(answers: np.ndarray, others: np.ndarray) -> float:
    """Return how alike two models answer: the share of equal classes, or Pearson's correlation of numbers."""
    return pearson(others, answers) if others.dtype.kind == "f" else accuracy(others, answers)


def _ranks(values: np.ndarray) -> np.ndarray:
    """``[30, 10, 30] -> [2.5, 1, 2.5]``, float64."""
    _, where, counts = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts - 1) / 2)[where]


def _check(labels: np.ndarray, answers: np.ndarray) -> None:
    if labels.shape != answers.shape or not len(labels):
        raise ValueError(f"need as many predictions as labels, and at least one: {answers.shape}, {labels.shape}")
