"""Sentences in chunks, so that memory does not grow with their number."""

from __future__ import annotations

import numpy as np

from ..tokens import Sentences

_TOKENS_PER_CHUNK = 1 << 20  # part of the transfer set's identity: each chunk has its own random stream


def chunks_of(sentences: Sentences) -> list[tuple[int, int]]:
    """Return ranges ``(first, last)`` of sentences with about a million tokens each, ``last`` not included."""
    goals = np.arange(0, len(sentences.tokens), _TOKENS_PER_CHUNK)
    bounds = np.unique(np.append(np.searchsorted(sentences.offsets[:-1], goals), [0, len(sentences)])).tolist()
    return list(zip(bounds[:-1], bounds[1:]))


def part_of(sentences: Sentences, first: int, last: int) -> Sentences:
    """Return the sentences ``first`` to ``last`` (not included) without copying their tokens, read-only."""
    begin, end = sentences.offsets[first], sentences.offsets[last]
    arrays = [sentences.tokens[begin:end], sentences.offsets[first:last + 1] - begin, sentences.word_starts[begin:end]]
    if sentences.pairs:
        arrays.append(sentences.split[first:last])
    for array in arrays:
        array.flags.writeable = False
    return Sentences(*arrays)
