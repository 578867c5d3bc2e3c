"""Batches of (nearly) equal length, so that training computes no padding."""

from __future__ import annotations

import numpy as np

from ..tokens import Sentences


def widths(sentences: Sentences) -> np.ndarray:
    """Return what each sentence is sorted into batches by, int64 ``[n]``: its tokens, or those of its longer side."""
    if not sentences.pairs:
        return sentences.lengths
    return np.maximum(sentences.split, sentences.lengths - sentences.split)


def padded_rows(sentences: Sentences, batch: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the tokens that the student's LSTM reads and their lengths, int64 ``[rows, longest]`` and ``[rows]``.

    A row is a sentence or, of pairs, a side: all first sides, then all second sides.
    """
    if sentences.pairs:
        sentences = sentences.take(batch).sides()
        batch = np.concatenate([np.arange(0, len(sentences), 2), np.arange(1, len(sentences), 2)])
    return sentences.padded(batch, 0), sentences.lengths_at(batch)


def plan_batches(lengths: np.ndarray, batch_size: int, rng: np.random.Generator) -> list[np.ndarray]:
    """Split one epoch's sentences into batches of like length, in random order.

    Sentences of the same length are shuffled among themselves, and so are the batches.

    Args:
        lengths: tokens of each sentence, int ``[n]``.

    Returns:
        ``ceil(n / batch_size)`` int32 arrays of sentence indices, each index once.
    """
    shuffled = rng.permutation(np.arange(len(lengths), dtype=np.int32))
    by_length = shuffled[np.argsort(lengths[shuffled], kind="stable")]
    batches = [by_length[start:start + batch_size] for start in range(0, len(by_length), batch_size)]
    return [batches[position] for position in rng.permutation(len(batches))]
