"""POS-guided word replacement: words become other words with the same part of speech."""

from __future__ import annotations

import numpy as np

from ..tokens import Sentences, offsets_of, spans
from .corpus import Corpus
from .registry import augmentation_hook
from .values import Probability
from .words import rows_of, sequence_hashes, word_spans


@augmentation_hook("pos_replacement")
def pos_replacement(sentences: Sentences, corpus: Corpus, rng: np.random.Generator, *,
                    p_pos: Probability = 0.1) -> Sentences:
    """Replace each word, with probability ``p_pos``, by one with the same part-of-speech tag.

    The new word is drawn from the corpus's unigram distribution re-normalised for the tag. A word's tag is the one
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
