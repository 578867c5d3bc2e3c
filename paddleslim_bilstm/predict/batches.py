"""Sentences, or pairs of sentences, through a model in padded batches of similar length."""

from __future__ import annotations

from typing import Sequence

import numpy as np

from ..tokens import Framing, Reader, Sentences
from ..tokens.framing import TokenIds
from .runtimes import Logits


def sentence_logits(run: Logits, sentences: Sequence[TokenIds], framing: Framing, max_seq_length: int,
                    batch_size: int) -> np.ndarray:
    """Return the logits of ``sentences``, one or more, in their order, float32 ``[n, classes]``.

    Args:
        run: an array ``[batch, length]`` a feed of ``framing`` to logits ``[batch, classes]``.
        sentences: content token ids; lists, since for a single sentence they are faster than arrays.
        max_seq_length: tokens a sentence or pair is cut to, special tokens included.
        batch_size: sentences a batch; sorted by length first, so that batches hold little padding.
    """
    rows, of_second = zip(*[framing.frame(ids, max_seq_length) for ids in sentences])
    order = sorted(range(len(rows)), key=lambda index: len(rows[index]))
    answers = []
    for start in range(0, len(order), batch_size):
        chosen = order[start:start + batch_size]
        answers.append(run(*framing.pad([rows[index] for index in chosen], [of_second[index] for index in chosen])))
    logits = np.concatenate(answers)
    logits[order] = logits.copy()
    return logits


def batch_logits(run: Logits, sentences: Sentences, reader: Reader, batch_size: int) -> np.ndarray:
    """Return the logits of ``sentences``, one or more, which are cut to what is served; else as `sentence_logits`."""
    order = np.argsort(sentences.lengths, kind="stable")
    answers = [run(*reader.batch(sentences, order[start:start + batch_size]))
               for start in range(0, len(order), batch_size)]
    logits = np.concatenate(answers)
    logits[order] = logits.copy()
    return logits
