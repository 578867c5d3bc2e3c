"""n-gram sampling: a sentence becomes a short stretch of itself."""

from __future__ import annotations

from typing import Literal

import numpy as np

from ..tokens import Sentences, offsets_of, spans
from .corpus import Corpus
from .registry import augmentation_hook
from .values import LengthRange, Probability
from .words import rows_of, word_spans


@augmentation_hook("ngram_sampling")
def ngram_sampling(sentences: Sentences, corpus: Corpus, rng: np.random.Generator, *, p_ng: Probability = 0.25,
                   ngram_range: LengthRange = (2, 6), unit: Literal["token", "word"] = "token") -> Sentences:
    """Cut each sentence, with probability ``p_ng``, to ``n`` consecutive tokens (or words).

    ``n`` is uniform in ``ngram_range``, both ends included, and at most the sentence's length; the place is uniform.
    Source: ``ngram_sampling`` of PaddleNLP's tutorial; its unit is the token, or the word when whole words are masked.
    """
    if unit == "token":
        firsts, counts = _draw(sentences.lengths, p_ng, ngram_range, rng)
        starts, lengths = sentences.offsets[:-1] + firsts, counts
    else:
        word_starts, word_lengths = word_spans(sentences)
        words = np.bincount(rows_of(word_starts, sentences.offsets), minlength=len(sentences))
        firsts, counts = _draw(words, p_ng, ngram_range, rng)
        bounds = np.append(word_starts, len(sentences.tokens))
        firsts += offsets_of(words)[:-1]
        starts, lengths = bounds[firsts], bounds[firsts + counts] - bounds[firsts]
    where = spans(starts, lengths)
    return Sentences(sentences.tokens[where], offsets_of(lengths), sentences.word_starts[where])


def _draw(sizes: np.ndarray, p_ng: float, ngram_range: tuple[int, int],
          rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return the first unit and the number of units kept of each sentence, int64 ``[n]``."""
    chosen = np.flatnonzero(rng.random(len(sizes)) < p_ng)
    firsts, counts = np.zeros(len(sizes), np.int64), sizes.astype(np.int64)
    counts[chosen] = np.minimum(rng.integers(*ngram_range, size=len(chosen), endpoint=True), counts[chosen])
    firsts[chosen] = rng.integers(0, sizes[chosen] - counts[chosen], endpoint=True)
    return firsts, counts
