"""The student's vocabulary: the teacher's tokens, cut to those that occur in the transfer set."""

from __future__ import annotations

import numpy as np

from ..tokens import Sentences, Tokenizer

_TOKENS_PER_BLOCK = 1 << 24


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
