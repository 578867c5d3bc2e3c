"""The vocabulary of a drop-in student: the teacher's tokens, cut to those that occur in the transfer set."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..tokens import Framing, Sentences, Tokenizer
from .spec import TEACHER_TOKENS

_TOKENS_PER_BLOCK = 1 << 24


@dataclass(frozen=True)
class TokenVocabulary:
    """The teacher's tokens in the teacher's feeds; `words.WordVocabulary` is the other kind of vocabulary.

    Attributes:
        tokenizer: the teacher's.
        framing: how the teacher reads its tokens; so does the student that takes its place.
        token_map: the row of each token id, int32 ``[teacher vocabulary]``.
    """

    tokenizer: Tokenizer
    framing: Framing
    token_map: np.ndarray

    kind = TEACHER_TOKENS

    @property
    def feeds(self) -> tuple:
        return self.framing.feeds

    @property
    def width(self) -> int | None:
        return self.framing.width

    @property
    def pad_id(self) -> int:
        return self.framing.pad_id

    @property
    def sep_id(self) -> int:
        return self.framing.sep_id

    @property
    def separators(self) -> int:
        return self.framing.separators

    @property
    def words(self) -> list[str]:
        """The token of each row."""
        return [self.tokenizer.vocab[token] for token in self._tokens]

    def batch(self, sentences: Sentences, index: np.ndarray) -> tuple[np.ndarray, ...]:
        """Return the sentences at ``index`` in the teacher's feeds, see `Framing.batch`."""
        return self.framing.batch(sentences, index)

    def special_tokens(self, pairs: bool) -> int:
        """Return how many special tokens the feeds hold beside those of a sentence or pair."""
        return self.framing.special_tokens(pairs)

    def embeddings(self, teacher_embeddings: np.ndarray) -> np.ndarray:
        """Return the teacher's embedding of each row, float32 ``[rows, teacher units]``."""
        return teacher_embeddings[self._tokens]

    def save(self, folder: str | Path) -> None:
        """Write nothing: the tokenizer's files are all that a predictor needs."""

    @property
    def _tokens(self) -> np.ndarray:
        return kept_tokens(self.token_map, self.tokenizer.unk_id)


def cut_vocabulary(tokenizer: Tokenizer, sentences: Sentences) -> np.ndarray:
    """Return the map from the teacher's token ids to the student's embedding rows.

    Tokens that never occur share the row of ``[UNK]``; the rows keep the order of the ids.

    Returns:
        int32, shape ``[teacher vocabulary]``.

    Example: a vocabulary of 5 with ``[UNK]`` = 1, in which only 1, 3 and 4 occur: ``[0, 0, 0, 1, 2]``.
    """
    occurs = np.zeros(len(tokenizer.vocab), bool)
    occurs[tokenizer.unk_id] = True
    for start in range(0, len(sentences.tokens), _TOKENS_PER_BLOCK):
        occurs[sentences.tokens[start:start + _TOKENS_PER_BLOCK]] = True
    rows = np.cumsum(occurs, dtype=np.int32) - 1
    return np.where(occurs, rows, rows[tokenizer.unk_id]).astype(np.int32)


def kept_tokens(token_map: np.ndarray, unk_id: int) -> np.ndarray:
    """Return the token id of each embedding row, int64, shape ``[rows]``."""
    tokens = np.zeros(int(token_map.max()) + 1, np.int64)
    tokens[token_map[::-1]] = np.arange(len(token_map))[::-1]  # ids that share a row: the smallest is written last
    tokens[token_map[unk_id]] = unk_id
    return tokens
