"""Sentences in chunks, where words begin and end, and hashes that tell sequences of tokens apart."""

from __future__ import annotations

import numpy as np

from ..tokens import Sentences, spans

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


_MIX_1, _MIX_2 = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)  # of the SplitMix64 generator


def word_spans(sentences: Sentences) -> tuple[np.ndarray, np.ndarray]:
    """Return where each word begins in ``sentences.tokens`` and how many tokens it has, both int64 ``[words]``.

    A word never crosses the end of its sentence; a sentence that was cut inside a word begins with the rest of it.
    """
    begins = sentences.word_starts.copy()
    begins[sentences.offsets[:-1][sentences.lengths > 0]] = True
    starts = np.flatnonzero(begins)
    return starts, np.diff(starts, append=len(begins))


def rows_of(positions: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """Return the sentence that each position of the flat token array lies in, int64."""
    return np.searchsorted(offsets, positions, side="right") - 1


def sequence_hashes(tokens: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Return a 64-bit hash of each of the token sequences that lie back to back in ``tokens``, uint64 ``[n]``."""
    mixed = spans(np.zeros(len(lengths), np.int64), lengths).view(np.uint64)  # position in the sequence
    mixed <<= np.uint64(32)
    mixed |= tokens.astype(np.uint64)
    _mix(mixed)
    sums = np.zeros(len(tokens) + 1, np.uint64)
    np.cumsum(mixed, out=sums[1:])
    ends = np.cumsum(lengths)
    return _mix(sums[ends] - sums[ends - lengths] + lengths.astype(np.uint64))


def row_hashes(sentences: Sentences) -> np.ndarray:
    """Return a 64-bit hash of each sentence, or of each pair, uint64 ``[n]``."""
    if not sentences.pairs:
        return sequence_hashes(sentences.tokens, sentences.lengths)
    sides = sentences.sides()
    hashes = sequence_hashes(sides.tokens, sides.lengths)
    return _mix(hashes[::2] * _MIX_1 + hashes[1::2])


def find_hashes(known: np.ndarray, wanted: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return where each of ``wanted`` lies in the ascending ``known``, and whether it is there, bool ``[n]``.

    Where it is not, the place is any that ``known`` has, unless that is empty.
    """
    if not len(known):
        return np.zeros(len(wanted), np.int64), np.zeros(len(wanted), bool)
    places = np.minimum(np.searchsorted(known, wanted), len(known) - 1)
    return places, known[places] == wanted


def _mix(values: np.ndarray) -> np.ndarray:
    """Scramble ``values`` in place (the finalizer of SplitMix64, a bijection)."""
    values ^= values >> np.uint64(30)
    values *= _MIX_1
    values ^= values >> np.uint64(27)
    values *= _MIX_2
    values ^= values >> np.uint64(31)
    return values
