"""The words of tokenized sentences as text."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Iterator, Sequence

import numpy as np

from ..tokens import Sentences, Tokenizer
from .words import word_spans

_PLAIN_WORDS = re.compile(r"[^\W_]+|_|[^\w\s]")  # BERT's words in most texts, ten times faster than its tokenizer


@dataclass(frozen=True)
class Spelling:
    """Spells words as they stand in ``texts``, or from the vocabulary's pieces where ``texts`` is None."""

    sentences: Sentences
    tokenizer: Tokenizer
    texts: Sequence[str] | None

    def words(self, rows: np.ndarray) -> Iterator[list[str]]:
        """Yield the words of each of ``rows``, one text for each word of ``word_spans``, in order.

        Example: ``"Jolly soft-porn" -> ["Jolly", "soft", "-", "porn"]``; from the pieces ``["jolly", ...]``.
        """
        chosen = self.sentences.take(rows)
        starts, lengths = word_spans(chosen)
        bounds = np.searchsorted(starts, chosen.offsets)
        begins = starts - np.repeat(chosen.offsets[:-1], np.diff(bounds))
        begins, ends, bounds = begins.tolist(), (begins + lengths).tolist(), bounds.tolist()
        offsets, tokens = chosen.offsets.tolist(), chosen.tokens.tolist()
        texts = [] if self.texts is None else [self.texts[row] for row in rows]
        plain = [_PLAIN_WORDS.findall(text) for text in texts]
        odd = [index for index, words in enumerate(plain) if len(words) != bounds[index + 1] - bounds[index]]
        encoded = dict(zip(odd, self.tokenizer.rust.encode_batch([texts[index] for index in odd],
                                                                 add_special_tokens=False)))
        for index in range(len(chosen)):
            if texts and index not in encoded:
                yield plain[index]
                continue
            ids = tokens[offsets[index]:offsets[index + 1]]
            spans = zip(begins[bounds[index]:bounds[index + 1]], ends[bounds[index]:bounds[index + 1]])
            if texts and encoded[index].ids[:len(ids)] == ids:  # may have been truncated, not otherwise changed
                letters = encoded[index].offsets
                yield [texts[index][letters[begin][0]:letters[end - 1][1]] for begin, end in spans]
            else:
                yield [join_pieces([self.tokenizer.vocab[token] for token in ids[begin:end]]) for begin, end in spans]


def join_pieces(pieces: Sequence[str]) -> str:
    """``["play", "##ing"] -> "playing"``."""
    return pieces[0] + "".join(piece[2:] if piece.startswith("##") else piece for piece in pieces[1:])
