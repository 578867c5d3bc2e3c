"""The built-in augmentation hooks: the tutorial's three, and crossover; each is one decorated function."""

from __future__ import annotations

from typing import Literal

import numpy as np

from ..errors import UserError
from ..tokens import Sentences, offsets_of, spans
from .corpus import Corpus
from .registry import LengthRange, Probability, augmentation_hook
from .words import rows_of, sequence_hashes, word_spans


@augmentation_hook("masking")
def masking(sentences: Sentences, corpus: Corpus, rng: np.random.Generator, *, p_mask: Probability = 0.1,
            whole_word: bool = False) -> Sentences:
    """Replace each token, or each whole word, by the mask token with probability ``p_mask``.

    With ``whole_word`` a masked word becomes one mask token, however many tokens it had (as in PaddleNLP's tutorial).

    Raises:
        UserError: the vocabulary has no mask token.
    """
    mask_id = corpus.tokenizer.mask_id
    if mask_id is None:
        raise UserError("DataAugmentation.hooks.masking: the vocabulary has no mask token; "
                        "add [MASK] to the tokenizer files or remove the hook")
    if not whole_word:
        masked = rng.random(len(sentences.tokens), np.float32) < p_mask
        return Sentences(np.where(masked, np.int32(mask_id), sentences.tokens), sentences.offsets,
                         sentences.word_starts)
    starts, lengths = word_spans(sentences)
    masked = np.repeat(rng.random(len(starts), np.float32) < p_mask, lengths)
    begins = np.zeros(len(sentences.tokens), bool)
    begins[starts] = True
    kept = ~masked | begins
    kept_before = np.concatenate([[0], np.cumsum(kept)])
    tokens = np.where(masked, np.int32(mask_id), sentences.tokens)
    return Sentences(tokens[kept], kept_before[sentences.offsets], begins[kept])


@augmentation_hook("pos_replacement")
def pos_replacement(sentences: Sentences, corpus: Corpus, rng: np.random.Generator, *,
                    p_pos: Probability = 0.1) -> Sentences:
    """Replace each word, with probability ``p_pos``, by one with the same part-of-speech tag.

    The new word is drawn from the corpus's unigram distribution re-normalised for the tag, where tokens hold spaces
    among the words that are joined alike to what stands before them. A word's tag is the one
    it has in its source sentence, so words that are not in the source sentence stay: masked ones, and those that an
    earlier hook put there. Source: Tang et al. 2019 (arXiv 1903.12136), section 3.3.
    """
    table = corpus.pos_table
    starts, lengths = word_spans(sentences)
    chosen = np.flatnonzero(rng.random(len(starts), np.float32) < p_pos)
    words = sentences.tokens[spans(starts[chosen], lengths[chosen])]
    tags = table.tags_in(corpus.first + rows_of(starts[chosen], sentences.offsets),
                         sequence_hashes(words, lengths[chosen]), rng)
    chosen, tags = chosen[tags >= 0], tags[tags >= 0]
    source_starts, source_lengths = table.draw(tags, rng)

    leaving = np.zeros(len(sentences.tokens), bool)
    leaving[spans(starts[chosen], lengths[chosen])] = True
    words_before = np.searchsorted(starts, sentences.offsets)
    lengths[chosen] = source_lengths
    bounds = offsets_of(lengths)
    entering = spans(bounds[chosen], source_lengths)
    staying = np.ones(int(bounds[-1]), bool)
    staying[entering] = False
    tokens = np.empty(len(staying), np.int32)
    tokens[staying] = sentences.tokens[~leaving]
    tokens[entering] = corpus.sentences.tokens[spans(source_starts, source_lengths)]
    begins = np.zeros(len(staying), bool)
    begins[bounds[:-1]] = True
    return Sentences(tokens, bounds[words_before], begins)


@augmentation_hook("ngram_sampling")
def ngram_sampling(sentences: Sentences, corpus: Corpus, rng: np.random.Generator, *, p_ng: Probability = 0.25,
                   ngram_range: LengthRange = (2, 6), unit: Literal["token", "word"] = "token") -> Sentences:
    """Cut each sentence, with probability ``p_ng``, to ``n`` consecutive tokens (or words).

    ``n`` is uniform in ``ngram_range``, both ends included, and at most the sentence's length; the place is uniform.
    Source: ``ngram_sampling`` of PaddleNLP's tutorial; its unit is the token, or the word when whole words are masked.
    """
    if unit == "token":
        firsts, counts = _draw_pieces(sentences.lengths, p_ng, ngram_range, rng)
        starts, lengths = sentences.offsets[:-1] + firsts, counts
    else:
        word_starts, word_lengths = word_spans(sentences)
        words = np.bincount(rows_of(word_starts, sentences.offsets), minlength=len(sentences))
        firsts, counts = _draw_pieces(words, p_ng, ngram_range, rng)
        bounds = np.append(word_starts, len(sentences.tokens))
        firsts += offsets_of(words)[:-1]
        starts, lengths = bounds[firsts], bounds[firsts + counts] - bounds[firsts]
    where = spans(starts, lengths)
    return Sentences(sentences.tokens[where], offsets_of(lengths), sentences.word_starts[where])


def _draw_pieces(sizes: np.ndarray, p_ng: float, ngram_range: tuple[int, int],
          rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return the first unit and the number of units kept of each sentence, int64 ``[n]``."""
    chosen = np.flatnonzero(rng.random(len(sizes)) < p_ng)
    firsts, counts = np.zeros(len(sizes), np.int64), sizes.astype(np.int64)
    counts[chosen] = np.minimum(rng.integers(*ngram_range, size=len(chosen), endpoint=True), counts[chosen])
    firsts[chosen] = rng.integers(0, sizes[chosen] - counts[chosen], endpoint=True)
    return firsts, counts


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
    beginnings, ends = (_draw_partners(sentences.lengths_at(rows), rng) for rows in (chosen, others))
    kept, added = sentences.lengths.copy(), np.zeros(len(sentences), np.int64)
    kept[chosen], added[chosen] = beginnings, ends
    starts, lengths = (np.empty(2 * len(sentences), np.int64) for _ in range(2))
    starts[::2], lengths[::2] = sentences.offsets[:-1], kept
    starts[1::2], lengths[1::2] = 0, added
    starts[1 + 2 * chosen] = sentences.offsets[others + 1] - ends
    where, offsets = spans(starts, lengths), offsets_of(kept + added)
    tokens, begins = sentences.tokens[where], sentences.word_starts[where]
    seams = (offsets[chosen] + beginnings)[ends > 0]
    whole = seams[begins[seams]]
    tokens[whole] = corpus.tokenizer.pieces.spaced(tokens[whole])
    begins[seams] = True  # what stands behind the seam is no part of the word before
    return Sentences(tokens, offsets, begins)


def _draw_partners(lengths: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Draw how many tokens of each sentence are taken, int64: one at least, none of an empty sentence."""
    return np.minimum(rng.integers(1, np.maximum(lengths, 1), endpoint=True), lengths)
