"""Crossover: the beginning of one sentence goes on as the end of another."""

from __future__ import annotations

import numpy as np

from ..tokens import Sentences, offsets_of, spans
from .corpus import Corpus
from .registry import augmentation_hook
from .values import Probability


@augmentation_hook("crossover")
def crossover(sentences: Sentences, corpus: Corpus, rng: np.random.Generator, *,
              p_cross: Probability = 0.5) -> Sentences:
    """Put, with probability ``p_cross``, another sentence's end behind a sentence's beginning.

    Each part has one token to all of its sentence's, uniformly, so sentences grow by one token on average. The
    other sentence is any of those that the hook gets, as likely as any other. What the new sentence means is for the
    teacher to say: crossed sentences teach the student how parts work together. Source: instance crossover (Luque
    2019, arXiv 1909.11241), which puts halves of two texts of one class together.

    Example: ``[5, 6, 7], [8, 9] -> [5, 6, 9], [8, 9]``.
    """
    chosen = np.flatnonzero((rng.random(len(sentences)) < p_cross) & (sentences.lengths > 0))
    others = rng.integers(0, max(len(sentences), 1), len(chosen))
    beginnings, ends = (_draw(sentences.lengths_at(rows), rng) for rows in (chosen, others))
    kept, added = sentences.lengths.copy(), np.zeros(len(sentences), np.int64)
    kept[chosen], added[chosen] = beginnings, ends
    starts, lengths = (np.empty(2 * len(sentences), np.int64) for _ in range(2))
    starts[::2], lengths[::2] = sentences.offsets[:-1], kept
    starts[1::2], lengths[1::2] = 0, added
    starts[1 + 2 * chosen] = sentences.offsets[others + 1] - ends
    where, offsets = spans(starts, lengths), offsets_of(kept + added)
    begins = sentences.word_starts[where]
    begins[(offsets[chosen] + beginnings)[ends > 0]] = True  # what stands behind the seam is no part of the word before
    return Sentences(sentences.tokens[where], offsets, begins)


def _draw(lengths: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Draw how many tokens of each sentence are taken, int64: one at least, none of an empty sentence."""
    return np.minimum(rng.integers(1, np.maximum(lengths, 1), endpoint=True), lengths)
