"""How a sentence or a pair becomes what a model reads, and back: special tokens, token types, mask, padding."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, List, Mapping, NamedTuple, Protocol, Sequence, Tuple, Union

import numpy as np

from .sentences import Sentences, cut_pair, spans

if TYPE_CHECKING:
    from .tokenizer import Tokenizer

# ZEROS: token types of a tokenizer that gives every token the type 0, as RoBERTa's; LENGTHS: of a student of words
IDS, TYPES, MASK, ZEROS, LENGTHS = ROLES = ("ids", "types", "mask", "zeros", "lengths")
DTYPES = ("int64", "int32", "float32", "bool")

Row = Tuple[Tuple[int, ...], Tuple[int, ...]]  # tokens of a sentence and (), or of both sides of a pair
TokenIds = Union[List[int], Tuple[List[int], List[int]]]  # of a sentence, or of both sides of a pair


class Reader(Protocol):
    """What turns sentences into a model's feeds: a `Framing`, or the vocabulary of a student of words."""

    feeds: tuple[Feed, ...]

    def batch(self, sentences: Sentences, index: np.ndarray) -> tuple[np.ndarray, ...]:
        """Return the sentences at ``index`` as the model reads them, an array a feed, in the model's order."""

    def special_tokens(self, pairs: bool) -> int:
        """Return how many tokens a sentence or pair has more for the model."""


class Feed(NamedTuple):
    """An input of a model: its name, what it is for (`ROLES`), and its type of numbers (`DTYPES`)."""

    name: str
    role: str
    dtype: str = "int64"


@lru_cache(maxsize=1024)
def _filled(value: int, length: int, dtype: str) -> np.ndarray:
    array = np.full((1, length), value, dtype)
    array.flags.writeable = False  # it is shared
    return array


BERT_FEEDS = (Feed("input_ids", IDS), Feed("token_type_ids", TYPES))


@dataclass(frozen=True)
class Framing:
    """``[CLS] sentence [SEP]`` or ``[CLS] first [SEP] second [SEP]``, padded to the longest of a batch.

    Attributes:
        feeds: the model's inputs in its own order; one of them has the role `IDS`.
        pad_id, cls_id, sep_id: ids of the special tokens.
        width: the length of every batch, where the model has a fixed one.
        separators: how many ``[SEP]`` stand between the sides of a pair: one, or two as in RoBERTa.

    Example:
        >>> framing = Framing(BERT_FEEDS, pad_id=0, cls_id=2, sep_id=3)
        >>> framing.batch(Sentences.from_lists([[7, 8], [9]]), np.array([0, 1]))[0].tolist()
        [[2, 7, 8, 3], [2, 9, 3, 0]]
    """

    feeds: tuple[Feed, ...]
    pad_id: int
    cls_id: int
    sep_id: int
    width: int | None = None
    separators: int = 1

    @classmethod
    def of(cls, tokenizer: Tokenizer, feeds: Sequence[Feed] = BERT_FEEDS, width: int | None = None) -> Framing:
        """Return the framing of a model that was trained with ``tokenizer``."""
        if tokenizer.second_type == 0:
            feeds = [feed._replace(role=ZEROS) if feed.role == TYPES else feed for feed in feeds]
        return cls(tuple(feeds), tokenizer.pad_id, tokenizer.cls_id, tokenizer.sep_id, width, tokenizer.separators)

    def special_tokens(self, pairs: bool) -> int:
        """Return how many special tokens stand around a sentence, or around and between the sides of a pair."""
        return 2 + self.separators * pairs

    @cached_property
    def _name(self) -> dict[str, str]:
        return {feed.role: feed.name for feed in self.feeds}

    @property
    def ids_name(self) -> str:
        """The name of the input that takes the token ids."""
        return self._name[IDS]

    def batch(self, sentences: Sentences, index: np.ndarray) -> tuple[np.ndarray, ...]:
        """Return the sentences at ``index`` as the model reads them, an array ``[len(index), length]`` a feed.

        Types are 0 up to the last ``[SEP]`` between the sides and 1 behind it up to the last token; the mask is 1 for
        every token; both are 0 for padding. The caller has cut the sentences to what fits into ``width``.
        """
        pairs, lengths = sentences.pairs, sentences.lengths_at(index)
        split = sentences.split[index] if pairs else lengths
        used = lengths + self.special_tokens(pairs)
        width = self.width or int(lengths.max(initial=0)) + self.special_tokens(pairs)
        every = np.arange(len(index))
        ids = np.full((len(index), width), self.pad_id, np.int64)
        rows = np.repeat(every, lengths)
        columns = 1 + spans(np.zeros(len(index), np.int64), lengths)
        if pairs:
            columns += self.separators * (columns > split[rows])
        ids[rows, columns] = sentences.tokens[spans(sentences.offsets[:-1][index], lengths)]
        ids[:, 0] = self.cls_id
        ids[every, used - 1] = self.sep_id
        for position in range(self.separators if pairs else 0):
            ids[every, split + 1 + position] = self.sep_id
        return self._arrays(ids, used, lengths - split + 1 if pairs else np.zeros_like(used))

    def frame(self, ids: TokenIds, max_tokens: int) -> tuple[list[int], int]:
        """Return the token ids of one sentence or pair in its special tokens, and how many of the last are of type 1.

        It is cut to ``max_tokens`` in all, a pair token by token at its longer side.
        """
        if isinstance(ids, list):
            return [self.cls_id, *ids[:max_tokens - 2], self.sep_id], 0
        first, second = ids
        room = max_tokens - self.special_tokens(pairs=True)
        if len(first) + len(second) > room:
            lengths = cut_pair(len(first), len(second), room)
            first, second = first[:lengths[0]], second[:lengths[1]]
        between = [self.sep_id] * self.separators
        return [self.cls_id, *first, *between, *second, self.sep_id], len(second) + 1

    def pad(self, rows: Sequence[list[int]], of_second: Sequence[int]) -> tuple[np.ndarray, ...]:
        """Return what `frame` gave for several sentences as one batch, an array ``[len(rows), length]`` a feed."""
        if len(rows) == 1 and self.width is None:
            return self._alone(rows[0], of_second[0])
        width = self.width or max(map(len, rows))
        ids = np.array([row + [self.pad_id] * (width - len(row)) for row in rows], np.int64)
        return self._arrays(ids, np.array([len(row) for row in rows]), np.array(of_second))

    def _alone(self, row: list[int], of_second: int) -> tuple[np.ndarray, ...]:
        """Return a single row as `pad` does. Most texts are served so, and each call of NumPy's costs microseconds."""
        first = len(row) - of_second
        return tuple(np.array([row], feed.dtype) if feed.role == IDS
                     else _filled(1, len(row), feed.dtype) if feed.role == MASK
                     else _filled(0, len(row), feed.dtype) if feed.role == ZEROS or not of_second
                     else np.array([[0] * first + [1] * of_second], feed.dtype) for feed in self.feeds)

    def contents(self, batch: Mapping[str, np.ndarray]) -> list[Row]:
        """Return the tokens of each row of a batch (arrays by feed name) without special tokens and padding.

        What is padding the mask says or, without one, the padding's id. The second side is what has a type other than
        0; without types it is what stands behind an inner ``[SEP]``. A single sentence has none.
        """
        ids = np.asarray(batch[self.ids_name])
        kept = ids != self.pad_id
        if self._name.get(MASK) in batch:
            kept = np.asarray(batch[self._name[MASK]]).reshape(ids.shape) != 0
        if self._name.get(TYPES) in batch:
            second = np.asarray(batch[self._name[TYPES]]).reshape(ids.shape) != 0
            sides = [([*row[use & ~of_second].tolist()], [*row[use & of_second].tolist()])
                     for row, use, of_second in zip(ids, kept, second)]
        else:
            sides = [self._halves(row[use].tolist()) for row, use in zip(ids, kept)]
        return [(self._bare(first), self._bare(second)) for first, second in sides]

    def _halves(self, ids: list[int]) -> tuple[list[int], list[int]]:
        inner = ids.index(self.sep_id) if self.sep_id in ids[:-1] else len(ids)
        return ids[:inner], ids[inner:]

    def _bare(self, ids: list[int]) -> tuple[int, ...]:
        start, end = int(ids[:1] == [self.cls_id]), len(ids)
        while start < end and ids[start] == self.sep_id:
            start += 1
        while end > start and ids[end - 1] == self.sep_id:
            end -= 1
        return tuple(ids[start:end])

    def _arrays(self, ids: np.ndarray, used: np.ndarray, of_second: np.ndarray) -> tuple[np.ndarray, ...]:
        """Return an array a feed, given the ids, the tokens of each row and how many of its last are of type 1."""
        column = np.arange(ids.shape[1])
        arrays = []
        for feed in self.feeds:
            if feed.role == IDS:
                array = ids
            elif feed.role == MASK:
                array = column < used[:, None]
            else:
                array = (np.zeros_like(ids) if feed.role == ZEROS or not of_second.any()
                         else (column >= (used - of_second)[:, None]) & (column < used[:, None]))
            arrays.append(array.astype(feed.dtype, copy=False))
        return tuple(arrays)
