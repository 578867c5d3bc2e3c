"""Chinese words: BERT's tokenizers take each character for a word, jieba knows better."""

from __future__ import annotations

import logging
from dataclasses import replace
from itertools import accumulate
from typing import Callable

import numpy as np

from ..tokens import Sentences
from .spelling import Spelling
from .taggers import is_chinese_letter
from .words import word_spans

_ROWS_PER_BATCH = 1000


def join_chinese_words(sentences: Sentences, spelling: Spelling,
                       progress: Callable[[int], object] | None = None) -> Sentences:
    """Return ``sentences`` with ``word_starts`` only where jieba has a word begin; other scripts stay as they are.

    ``progress`` is called with the number of sentences done since its last call.

    Example: the four characters of ``酒店很好`` become the words ``酒店``, ``很``, ``好``: word starts 1 0 1 1.
    """
    import jieba  # here: few runs need it
    jieba.setLogLevel(logging.WARNING)
    starts, _ = word_spans(sentences)
    begins: list[bool] = []
    for first in range(0, len(sentences), _ROWS_PER_BATCH):
        rows = np.arange(first, min(first + _ROWS_PER_BATCH, len(sentences)))
        for words in spelling.words(rows):
            bounds = set(accumulate(map(len, jieba.cut("".join(words)))))
            places = accumulate(map(len, words))
            chinese = [is_chinese_letter(word) for word in words]
            begins += [place - len(word) in bounds or not (here and before)
                       for word, place, here, before in zip(words, places, chinese, [False, *chinese])]
        if progress:
            progress(len(rows))
    word_starts = np.zeros(len(sentences.tokens), bool)
    word_starts[starts[np.array(begins, bool)]] = True
    return replace(sentences, word_starts=word_starts)
