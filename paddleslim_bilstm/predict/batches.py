"""Sentences, or pairs of sentences, through a model in padded batches of similar length."""

from __future__ import annotations

from typing import TYPE_CHECKING, List, Sequence, Tuple, Union

import numpy as np

from ..tokens import Sentences, Tokenizer, cut_pair
from .runtimes import Logits

if TYPE_CHECKING:
    from ..student.words import WordVocabulary

TokenIds = Union[List[int], Tuple[List[int], List[int]]]  # of a sentence, or of both sides of a pair


def sentence_logits(run: Logits, sentences: Sequence[TokenIds], tokenizer: Tokenizer, max_seq_length: int,
                    batch_size: int) -> np.ndarray:
    """Return the logits of ``sentences``, one or more, in their order, float32 ``[n, classes]``.

    Args:
        run: ``(input_ids, token_type_ids)``, int64 ``[batch, length]``, to logits ``[batch, classes]``.
        sentences: content token ids; lists, since for a single sentence they are faster than arrays.
        max_seq_length: tokens a sentence or pair is cut to, ``[CLS]`` and ``[SEP]`` included.
        batch_size: sentences a batch; sorted by length first, so that batches hold little padding.
    """
    rows, of_second = zip(*[_row(ids, tokenizer, max_seq_length) for ids in sentences])
    order = sorted(range(len(rows)), key=lambda index: len(rows[index]))
    answers = []
    for start in range(0, len(order), batch_size):
        chosen = order[start:start + batch_size]
        batch = [rows[index] for index in chosen]
        width = len(batch[-1])
        input_ids = np.array([row + [tokenizer.pad_id] * (width - len(row)) for row in batch], np.int64)
        token_type_ids = np.zeros_like(input_ids)
        for position, index in enumerate(chosen):
            if of_second[index]:
                end = len(rows[index])
                token_type_ids[position, end - of_second[index]:end] = 1
        answers.append(run(input_ids, token_type_ids))
    logits = np.concatenate(answers)
    logits[order] = logits.copy()
    return logits


def batch_logits(run: Logits, sentences: Sentences, reader: Tokenizer | WordVocabulary,
                 batch_size: int) -> np.ndarray:
    """Return the logits of ``sentences``, one or more, which are cut to what is served; else as `sentence_logits`.

    Args:
        reader: whose ``feeds`` the model takes: the tokenizer, or the vocabulary of a student of words.
    """
    order = np.argsort(sentences.lengths, kind="stable")
    answers = [run(*reader.feeds(sentences, order[start:start + batch_size]))
               for start in range(0, len(order), batch_size)]
    logits = np.concatenate(answers)
    logits[order] = logits.copy()
    return logits


def _row(ids: TokenIds, tokenizer: Tokenizer, max_seq_length: int) -> tuple[list[int], int]:
    """Return what BERT reads, cut to ``max_seq_length``, and how many of its tokens are of the second side."""
    if isinstance(ids, list):
        return [tokenizer.cls_id, *ids[:max_seq_length - 2], tokenizer.sep_id], 0
    first, second = ids
    if len(first) + len(second) > max_seq_length - 3:
        lengths = cut_pair(len(first), len(second), max_seq_length - 3)
        first, second = first[:lengths[0]], second[:lengths[1]]
    return [tokenizer.cls_id, *first, tokenizer.sep_id, *second, tokenizer.sep_id], len(second) + 1
