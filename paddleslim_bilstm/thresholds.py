"""The threshold of each label, chosen on labelled text without trusting a few examples too far."""

from __future__ import annotations

from typing import Sequence

import numpy as np

from .metrics import f1_by_label

HALF = 0.5
LOWEST, HIGHEST = 0.1, 0.9
TRUSTED_AFTER = 10  # texts with a label: so many carry its threshold half the way from 0.5
_STEPS = 81  # from the lowest to the highest, evenly in log-odds


def in_keys(thresholds: Sequence[float]) -> list[float]:
    """Return what keys of the cache have of thresholds: those that were set."""
    return [one for one in thresholds if one != HALF]


def log_odds(probabilities: np.ndarray) -> np.ndarray:
    """Return the logits behind probabilities, float64: ``[0.5, 0.9] -> [0, 2.197]``."""
    probabilities = np.asarray(probabilities, np.float64)
    return np.log(probabilities) - np.log1p(-probabilities)


def sigmoid(logits: np.ndarray) -> np.ndarray:
    """Return the probabilities behind logits, in their dtype; no value overflows."""
    small = np.exp(-np.abs(logits))
    return np.where(logits >= 0, 1 / (1 + small), small / (1 + small)).astype(logits.dtype)


def best_thresholds(labels: np.ndarray, logits: np.ndarray) -> tuple[float, ...]:
    """Return for each label the probability above which answering it serves its F1 best.

    A few texts with a label would say little about it: the highest F1 of many tried thresholds is luck then. So the
    threshold goes from 0.5 only ``n / (n + 10)`` of the way (in log-odds) to the best one (of equally good ones to the
    median), for ``n`` texts with the label, lies from 0.1 to 0.9, and stays at 0.5 where that isn't better on these
    texts.

    Args:
        labels: 1 or 0, ``[n, labels]``.
        logits: float32 ``[n, labels]``.
    """
    tried = np.linspace(log_odds(LOWEST), log_odds(HIGHEST), _STEPS)
    scores = np.stack([_f1(labels, logits, cut) for cut in tried])
    best = np.ma.masked_array(np.broadcast_to(tried[:, None], scores.shape), scores < scores.max(axis=0))
    texts = (labels > 0).sum(axis=0)
    cuts = np.ma.median(best, axis=0).filled(0) * texts / (texts + TRUSTED_AFTER)
    better = _f1(labels, logits, cuts) > _f1(labels, logits, 0)
    return tuple(np.round(sigmoid(np.where(better, cuts, 0.0)), 3).tolist())


def _f1(labels: np.ndarray, logits: np.ndarray, cuts: np.ndarray | float) -> np.ndarray:
    return np.nan_to_num(f1_by_label(labels, logits - cuts))
