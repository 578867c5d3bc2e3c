"""Accuracy, F1 and agreement of class predictions; NumPy alone, so that prediction-only installs have them too."""

from __future__ import annotations

import numpy as np


def accuracy(labels: np.ndarray, predictions: np.ndarray) -> float:
    """Return the share of ``predictions`` that equal ``labels`` (both int, shape ``[n]``), from 0 to 1.

    Raises:
        ValueError: the shapes differ, or there are no labels.
    """
    if labels.shape != predictions.shape or not len(labels):
        raise ValueError(f"need as many predictions as labels, and at least one: {predictions.shape}, {labels.shape}")
    return float(np.mean(labels == predictions))


def f1(labels: np.ndarray, predictions: np.ndarray, num_classes: int) -> float:
    """Return F1 from 0 to 1: that of class 1 for two classes (as GLUE has it), macro-F1 for more.

    A class that occurs neither in ``labels`` nor in ``predictions`` does not enter the mean; class 1 of two that
    occurs in neither has F1 0. Equal to scikit-learn's ``f1_score`` with ``zero_division=0``.
    """
    hits = np.bincount(labels[labels == predictions], minlength=num_classes)
    occurrences = np.bincount(labels, minlength=num_classes) + np.bincount(predictions, minlength=num_classes)
    scores = 2 * hits / np.maximum(occurrences, 1)
    return float(scores[1] if num_classes == 2 else scores[occurrences > 0].mean())


def agreement(predictions: np.ndarray, teacher_predictions: np.ndarray) -> float:
    """Return the share of sentences, from 0 to 1, on which a model predicts its teacher's class."""
    return accuracy(teacher_predictions, predictions)
