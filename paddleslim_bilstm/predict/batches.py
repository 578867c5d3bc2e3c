"""Sentences through a model in padded batches of similar length."""

from __future__ import annotations

from typing import Sequence

import numpy as np

from ..tokens import Tokenizer
from .runtimes import Logits


def sentence_logits(run: Logits, sentences: Sequence[list[int]], tokenizer: Tokenizer, max_seq_length: int,
                    batch_size: int) -> np.ndarray:
    """Return the logits of ``sentences``, one or more, in their order, float32 ``[n, classes]``.

    Args:
        run: ``(input_ids, token_type_ids)``, int64 ``[batch, length]``, to logits ``[batch, classes]``.
        sentences: content token ids; lists, since for a single sentence they are faster than arrays.
        max_seq_length: tokens a sentence is cut to, ``[CLS]`` and ``[SEP]`` included.
        batch_size: sentences a batch; sorted by length first, so that batches hold little padding.
    """
    rows = [[tokenizer.cls_id, *ids[:max_seq_length - 2], tokenizer.sep_id] for ids in sentences]
    order = sorted(range(len(rows)), key=lambda index: len(rows[index]))
    answers = []
    for start in range(0, len(order), batch_size):
        batch = [rows[index] for index in order[start:start + batch_size]]
        width = len(batch[-1])
        input_ids = np.array([row + [tokenizer.pad_id] * (width - len(row)) for row in batch], np.int64)
        answers.append(run(input_ids, np.zeros_like(input_ids)))
    logits = np.concatenate(answers)
    logits[order] = logits.copy()
    return logits
