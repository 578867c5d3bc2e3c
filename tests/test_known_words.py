"""Words met before: the same tokens as the Rust library's, for whatever text, in whatever order."""

from __future__ import annotations

import random

import pytest
from encoders import KINDS, write_tokenizer

from paddleslim_bilstm.tokens import known_words as module
from paddleslim_bilstm.tokens import load_tokenizer
from paddleslim_bilstm.tokens.known_words import KnownWords

ODD = ["", " ", "[MASK] film", "good[SEP]film", "Good  FILM ,", "good\tfilm", "good\nfilm", "caf\u00e9 good",
       "\x00good", "\x7f", "a" * 300, "\u4e2d\u6587 film", "don't_stop #1!", "\u200bgood", "a\u00a0b"]


def random_texts(letters: str, seed: int, count: int = 1500) -> list[str]:
    chance = random.Random(seed)
    return ["".join(chance.choices(letters, k=chance.randrange(25))) for _ in range(count)]


@pytest.fixture(params=sorted(KINDS))
def tokenizer(request, tmp_path):
    write_tokenizer(tmp_path, *KINDS[request.param][3:])
    return load_tokenizer(tmp_path)


@pytest.fixture
def bert(tmp_path):
    write_tokenizer(tmp_path, *KINDS["bert"][3:])
    return load_tokenizer(tmp_path)


def expected(tokenizer, texts):
    return [one.ids for one in tokenizer.rust.encode_batch(list(texts), add_special_tokens=False)]


@pytest.mark.parametrize("all_cores", [False, True])
def test_ids_are_those_of_the_library(tokenizer, all_cores):
    known = KnownWords(tokenizer.rust)
    texts = [*random_texts("good filmGOD ,.", 0), *ODD,
             *random_texts("".join(map(chr, range(130))) + "\u4e2d\u00e9\u0301 [MASK]", 1)]
    for seed in range(3):
        random.Random(seed).shuffle(texts)
        assert known.ids(texts, all_cores) == expected(tokenizer, texts)


def test_the_library_is_asked_once_for_a_word_of_berts(bert, monkeypatch):
    known = KnownWords(bert.rust)
    known.ids(["good film , film", "a bad one"])
    monkeypatch.setattr(known, "_encode", None)
    assert known.ids(["one good , bad film", "film"]) == expected(bert, ["one good , bad film", "film"])


def test_what_is_kept_is_bounded(bert, monkeypatch):
    monkeypatch.setattr(module, "_MOST_WORDS", 3)
    monkeypatch.setattr(module, "_LONGEST_WORD", 2)
    known = KnownWords(bert.rust)
    texts = random_texts("good film", 2)
    assert known.ids(texts) == expected(bert, texts)
    assert len(known._pieces) <= 3 + 25 and max(map(len, known._pieces)) <= 2


def test_an_added_token_that_begins_with_an_accent_is_found_whatever_was_asked_before(bert):
    bert.rust.add_tokens(["\u00cele-de-France"])
    words = KnownWords(bert.rust)
    words.ids(["ile de france - film"])
    assert words.ids(["ile-de-france"]) == expected(bert, ["ile-de-france"])


def test_one_text_of_ever_new_words_is_not_remembered(bert, monkeypatch):
    monkeypatch.setattr(module, "_MOST_WORDS", 100)
    words, text = KnownWords(bert.rust), " ".join(f"w{number}" for number in range(101))
    assert words.ids([text]) == expected(bert, [text]) and not words._pieces
