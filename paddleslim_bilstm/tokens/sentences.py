"""Tokenized sentences: one flat array with offsets, no padding."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Iterable, Iterator, Sequence

import numpy as np


@dataclass(frozen=True)
class Sentences:
    """``n`` sentences of token ids, back to back in one array.

    Only content tokens are kept: ``[CLS]``, ``[SEP]`` and padding are added by whoever feeds a model.

    Attributes:
        tokens: token ids, int32, shape ``[total]``.
        offsets: int64, shape ``[n + 1]``; sentence ``i`` is ``tokens[offsets[i]:offsets[i + 1]]``.
        word_starts: bool, shape ``[total]``; true where a token begins a word.

    Example:
        >>> two = Sentences.from_lists([[5, 6, 7], [8]])
        >>> len(two), two.lengths.tolist(), two[0].tolist()
        (2, [3, 1], [5, 6, 7])
    """

    tokens: np.ndarray
    offsets: np.ndarray
    word_starts: np.ndarray

    @classmethod
    def from_lists(cls, ids: Sequence[Sequence[int]],
                   word_starts: Sequence[Sequence[bool]] | None = None) -> Sentences:
        """Pack lists of token ids; without ``word_starts`` every token is a word of its own."""
        offsets = np.zeros(len(ids) + 1, np.int64)
        np.cumsum([len(sentence) for sentence in ids], out=offsets[1:])
        tokens = _flatten(ids, int(offsets[-1]), np.int32)
        starts = (np.ones(len(tokens), bool) if word_starts is None
                  else _flatten(word_starts, len(tokens), bool))
        return cls(tokens, offsets, starts)

    @classmethod
    def concatenate(cls, parts: Iterable[Sentences]) -> Sentences:
        """Put the sentences of ``parts`` behind one another."""
        parts = list(parts)
        lengths = np.concatenate([part.lengths for part in parts])
        return cls(np.concatenate([part.tokens for part in parts]), offsets_of(lengths),
                   np.concatenate([part.word_starts for part in parts]))

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, index: int) -> np.ndarray:
        return self.tokens[self.offsets[index]:self.offsets[index + 1]]

    def __iter__(self) -> Iterator[np.ndarray]:
        return (self[index] for index in range(len(self)))

    @property
    def lengths(self) -> np.ndarray:
        """Tokens of each sentence, int64, shape ``[n]``."""
        return np.diff(self.offsets)

    def lengths_at(self, index: np.ndarray) -> np.ndarray:
        """Tokens of the sentences at ``index``, int64; cheaper than ``lengths[index]`` for a few of many."""
        return self.offsets[index + 1] - self.offsets[index]

    def take(self, index: np.ndarray) -> Sentences:
        """Return the sentences at ``index`` (int array, or bool mask over the sentences), in that order."""
        index = np.flatnonzero(index) if index.dtype == bool else index
        lengths = self.lengths[index]
        where = spans(self.offsets[:-1][index], lengths)
        return Sentences(self.tokens[where], offsets_of(lengths), self.word_starts[where])

    def truncate(self, max_tokens: int) -> Sentences:
        """Cut every sentence to its first ``max_tokens`` tokens."""
        if not len(self) or self.lengths.max() <= max_tokens:
            return self
        lengths = np.minimum(self.lengths, max_tokens)
        where = spans(self.offsets[:-1], lengths)
        return Sentences(self.tokens[where], offsets_of(lengths), self.word_starts[where])

    def padded(self, index: np.ndarray, pad_id: int, before: Sequence[int] = (),
               after: Sequence[int] = ()) -> np.ndarray:
        """Return the sentences at ``index`` as one padded int64 batch ``[len(index), longest]``.

        ``before`` and ``after`` are ids to put around each sentence, such as ``[CLS]`` and ``[SEP]``.
        """
        lengths = self.lengths_at(index)
        width = int(lengths.max(initial=0)) + len(before) + len(after)
        batch = np.full((len(index), width), pad_id, np.int64)
        batch[:, :len(before)] = before
        rows = np.repeat(np.arange(len(index)), lengths)
        columns = spans(np.full(len(index), len(before)), lengths)
        batch[rows, columns] = self.tokens[spans(self.offsets[:-1][index], lengths)]
        for position, token in enumerate(after):
            batch[np.arange(len(index)), lengths + len(before) + position] = token
        return batch


def offsets_of(lengths: np.ndarray) -> np.ndarray:
    """``lengths=[3, 1] -> [0, 3, 4]``, int64."""
    offsets = np.zeros(len(lengths) + 1, np.int64)
    np.cumsum(lengths, out=offsets[1:])
    return offsets


def spans(starts: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Return the positions of several spans, one behind another, int64.

    Example: ``starts=[10, 3], lengths=[3, 2] -> [10, 11, 12, 3, 4]``.
    """
    ends = np.cumsum(lengths)
    total = int(ends[-1]) if len(ends) else 0
    return np.arange(total, dtype=np.int64) + np.repeat(np.asarray(starts, np.int64) - (ends - lengths), lengths)


def _flatten(lists: Sequence[Sequence], total: int, dtype: type) -> np.ndarray:
    return np.fromiter((item for one in lists for item in one), dtype, total)
