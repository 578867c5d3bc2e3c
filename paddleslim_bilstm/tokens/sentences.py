"""Tokenized sentences, or pairs of sentences: one flat array with offsets, no padding; and batches of like lengths."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Iterable, Iterator, Sequence

import numpy as np


@dataclass(frozen=True)
class Sentences:
    """``n`` sentences of token ids, or ``n`` pairs of sentences, back to back in one array.

    Only content tokens are kept: ``[CLS]``, ``[SEP]`` and padding are added by whoever feeds a model. A pair is one
    entry, its second side right behind its first; ``split`` tells where. What is said of a sentence below holds for a
    pair as a whole.

    Attributes:
        tokens: token ids, int32, shape ``[total]``.
        offsets: int64, shape ``[n + 1]``; sentence ``i`` is ``tokens[offsets[i]:offsets[i + 1]]``.
        word_starts: bool, shape ``[total]``; true where a token begins a word.
        split: int64, shape ``[n]``; tokens of the first side of each pair. None where these are single sentences.

    Example:
        >>> two = Sentences.from_lists([[5, 6, 7], [8]])
        >>> len(two), two.lengths.tolist(), two[0].tolist()
        (2, [3, 1], [5, 6, 7])
        >>> pair = Sentences.from_sides(two)
        >>> len(pair), pair[0].tolist(), pair.split.tolist()
        (1, [5, 6, 7, 8], [3])
    """

    tokens: np.ndarray
    offsets: np.ndarray
    word_starts: np.ndarray
    split: np.ndarray | None = None

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
    def from_sides(cls, sides: Sentences) -> Sentences:
        """Put ``2n`` sentences together as ``n`` pairs: the first two, the next two, and so on; copies no tokens."""
        return cls(sides.tokens, sides.offsets[::2], sides.word_starts, sides.lengths[::2])

    @classmethod
    def concatenate(cls, parts: Iterable[Sentences]) -> Sentences:
        """Put the sentences of ``parts`` behind one another; all of them are pairs, or none."""
        parts = list(parts)
        lengths = np.concatenate([part.lengths for part in parts])
        split = None if parts[0].split is None else np.concatenate([part.split for part in parts])
        return cls(np.concatenate([part.tokens for part in parts]), offsets_of(lengths),
                   np.concatenate([part.word_starts for part in parts]), split)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, index: int) -> np.ndarray:
        return self.tokens[self.offsets[index]:self.offsets[index + 1]]

    def __iter__(self) -> Iterator[np.ndarray]:
        return (self[index] for index in range(len(self)))

    @property
    def pairs(self) -> bool:
        """Whether these are pairs of sentences."""
        return self.split is not None

    @property
    def content(self) -> list[np.ndarray]:
        """The arrays that tell these sentences from others, for fingerprints."""
        return [self.tokens, self.offsets, *([self.split] if self.pairs else [])]

    @property
    def lengths(self) -> np.ndarray:
        """Tokens of each sentence, int64, shape ``[n]``."""
        return np.diff(self.offsets)

    def to_lists(self) -> list[list[int]] | list[tuple[list[int], list[int]]]:
        """Return the token ids of each sentence as a list, of each pair as two."""
        if self.pairs:
            sides = self.sides().to_lists()
            return list(zip(sides[::2], sides[1::2]))
        return [ids.tolist() for ids in self]

    def sides(self) -> Sentences:
        """Return the sides of ``n`` pairs as ``2n`` sentences, first and second in turn; copies no tokens."""
        offsets = np.empty(2 * len(self) + 1, np.int64)
        offsets[::2] = self.offsets
        offsets[1::2] = self.offsets[:-1] + self.split
        return Sentences(self.tokens, offsets, self.word_starts)

    def lengths_at(self, index: np.ndarray) -> np.ndarray:
        """Tokens of the sentences at ``index``, int64; cheaper than ``lengths[index]`` for a few of many."""
        return self.offsets[index + 1] - self.offsets[index]

    def take(self, index: np.ndarray) -> Sentences:
        """Return the sentences at ``index`` (int array, or bool mask over the sentences), in that order."""
        index = np.flatnonzero(index) if index.dtype == bool else index
        lengths = self.lengths_at(index)
        where = spans(self.offsets[index], lengths)
        split = None if self.split is None else self.split[index]
        return Sentences(self.tokens[where], offsets_of(lengths), self.word_starts[where], split)

    def truncate(self, max_tokens: int) -> Sentences:
        """Cut every sentence to its first ``max_tokens`` tokens, and every pair to as many, see `cut_pair`."""
        if not len(self) or self.lengths.max() <= max_tokens:
            return self
        if self.pairs:
            sides = self.sides()
            cut = np.stack(cut_pair(self.split, self.lengths - self.split, max_tokens), axis=1).reshape(-1)
            return Sentences.from_sides(sides._cut(cut))
        return self._cut(np.minimum(self.lengths, max_tokens))

    def _cut(self, lengths: np.ndarray) -> Sentences:
        where = spans(self.offsets[:-1], lengths)
        return Sentences(self.tokens[where], offsets_of(lengths), self.word_starts[where])

    def padded(self, index: np.ndarray, pad_id: int) -> np.ndarray:
        """Return the sentences at ``index`` as one padded int64 batch ``[len(index), longest]``, one wide at least."""
        lengths = self.lengths_at(index)
        batch = np.full((len(index), int(lengths.max(initial=1))), pad_id, np.int64)
        rows = np.repeat(np.arange(len(index)), lengths)
        columns = spans(np.zeros(len(index), np.int64), lengths)
        batch[rows, columns] = self.tokens[spans(self.offsets[:-1][index], lengths)]
        return batch


def offsets_of(lengths: np.ndarray) -> np.ndarray:
    """``lengths=[3, 1] -> [0, 3, 4]``, int64."""
    offsets = np.zeros(len(lengths) + 1, np.int64)
    np.cumsum(lengths, out=offsets[1:])
    return offsets


def cut_pair(first: np.ndarray, second: np.ndarray, max_tokens: int) -> tuple[np.ndarray, np.ndarray]:
    """Return how many tokens of each side stay when pairs are cut to ``max_tokens`` in all (ints will do, too).

    A token at a time is taken from the longer side, from the second where both are equally long, as BERT's slow
    tokenizers do (``longest_first``); the fast ones leave an odd last token to the side that was longer, or else to the
    second. Example: ``first=[9, 2, 9], second=[9, 9, 3], max_tokens=7 -> [4, 2, 4], [3, 5, 3]``.
    """
    first_cut = np.minimum(first, np.maximum(max_tokens - max_tokens // 2, max_tokens - second))
    return first_cut, np.minimum(second, max_tokens - first_cut)


def spans(starts: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Return the positions of several spans, one behind another, int64.

    Example: ``starts=[10, 3], lengths=[3, 2] -> [10, 11, 12, 3, 4]``.
    """
    ends = np.cumsum(lengths)
    total = int(ends[-1]) if len(ends) else 0
    return np.arange(total, dtype=np.int64) + np.repeat(np.asarray(starts, np.int64) - (ends - lengths), lengths)


def _flatten(lists: Sequence[Sequence], total: int, dtype: type) -> np.ndarray:
    return np.fromiter((item for one in lists for item in one), dtype, total)


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
