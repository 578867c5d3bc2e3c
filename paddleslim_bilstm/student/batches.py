"""Batches of (nearly) equal length, so that training computes no padding."""

from __future__ import annotations

import numpy as np


def plan_batches(lengths: np.ndarray, batch_size: int, rng: np.random.Generator) -> list[np.ndarray]:
    """Split one epoch's sentences into batches of like length, in random order.

    Sentences of the same length are shuffled among themselves, and so are the batches.

    Args:
        lengths: tokens of each sentence, int ``[n]``.

    Returns:
        ``ceil(n / batch_size)`` int64 arrays of sentence indices, each index once.
    """
    shuffled = rng.permutation(len(lengths))
    by_length = shuffled[np.argsort(lengths[shuffled], kind="stable")]
    batches = [by_length[start:start + batch_size] for start in range(0, len(by_length), batch_size)]
    return [batches[position] for position in rng.permutation(len(batches))]
