"""Masking: tokens or whole words become the mask token."""

from __future__ import annotations

import numpy as np

from ..errors import UserError
from ..tokens import Sentences
from .corpus import Corpus
from .registry import augmentation_hook
from .values import Probability
from .words import word_spans


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
