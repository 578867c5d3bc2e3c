"""Sentences of tokens as text again."""

from __future__ import annotations

import numpy as np
import pytest

from paddleslim_bilstm.teacher.spelling import Speller
from paddleslim_bilstm.tokens import load_tokenizer


@pytest.fixture(scope="module")
def tokenizer(tiny_teacher):
    return load_tokenizer(tiny_teacher())


def test_known_sentences_come_back_as_written_and_others_from_their_tokens(tokenizer):
    texts = ["A Good   film!", "the   plot", "a good film !"]
    sentences = tokenizer.encode(texts)
    speller = Speller(tokenizer).knowing(sentences.take(np.arange(2)), texts[:2])
    assert speller.spell(sentences) == ["A Good   film!", "the   plot", "A Good   film!"]
    assert speller.spell(tokenizer.encode(["The actors", "loving"])) == ["the actors", tokenizer.decode(
        tokenizer.encode(["loving"])[0])]
    more = speller.knowing(tokenizer.encode(["THE ACTORS", "A good FILM!"]), ["THE ACTORS", "A good FILM!"])
    assert more.spell(tokenizer.encode(["the actors", "a good film!"])) == ["THE ACTORS", "A Good   film!"]


def test_pairs_are_spelled_as_pairs(tokenizer):
    pairs = [("A film", "the Plot"), ("so so", "")]
    sentences = tokenizer.encode(pairs)
    assert Speller(tokenizer).spell(sentences) == [("a film", "the plot"), ("so so", "")]
    assert Speller(tokenizer).knowing(sentences, pairs).spell(sentences) == pairs
    assert Speller(tokenizer).knowing(sentences, None).spell(sentences.take(np.array([0]))) == [("a film", "the plot")]


def test_masks_are_spelled_and_nothing_is_nothing(tokenizer):
    masked = tokenizer.encode(["a good film"])
    masked.tokens[1] = tokenizer.mask_id
    assert Speller(tokenizer).spell(masked) == ["a [MASK] film"]
    assert Speller(tokenizer).spell(tokenizer.encode([])) == []
