"""Pairs as flat arrays: what BERT is fed, how they are cut, and how they are augmented."""

import json

import numpy as np
import pytest
from teachers import VOCABULARY

from paddleslim_bilstm.augment import Corpus, augmentation_hook, build_transfer_set
from paddleslim_bilstm.augment.transfer_set import change_in_turn
from paddleslim_bilstm.augment.words import row_hashes
from paddleslim_bilstm.config.schema import AugmentationConfig, HookConfig
from paddleslim_bilstm.tokens import Sentences, cut_pair, load_tokenizer

TEXTS = [("the film is good .", "a very good movie"), ("bad food", "the service was slow and the food was cold ."),
         ("", "nothing"), ("one more time", ""), ("the room", "the room")]


@pytest.fixture(scope="module")
def tokenizer(tiny_teacher):
    return load_tokenizer(tiny_teacher())


def test_feeds_are_those_of_the_rust_tokenizers_own_template(tokenizer):
    pairs = tokenizer.encode(TEXTS)
    tokenizer.rust.enable_padding(pad_id=tokenizer.pad_id, pad_token="[PAD]")
    try:
        expected = tokenizer.rust.encode_batch(TEXTS)
    finally:
        tokenizer.rust.no_padding()
    input_ids, token_type_ids = tokenizer.framing.batch(pairs, np.arange(len(pairs)))
    np.testing.assert_array_equal(input_ids, [one.ids for one in expected])
    np.testing.assert_array_equal(token_type_ids, [one.type_ids for one in expected])


@pytest.mark.parametrize("config, gives_types", [
    ({}, True), ({"model_input_names": ["input_ids", "token_type_ids"]}, True),
    ({"model_input_names": ["input_ids", "attention_mask"]}, False), ({"tokenizer_class": "TokenizersBackend"}, False),
    ({"tokenizer_class": "TokenizersBackend", "model_input_names": ["input_ids", "token_type_ids"]}, True),
    ({"tokenizer_class": "PreTrainedTokenizerFast"}, True)])
def test_types_are_fed_where_the_tokenizer_gives_them(config, gives_types, tokenizer, tmp_path):
    """As in transformers: the generic class of version 4 gives them, that of version 5 does not."""
    tokenizer.rust.save(str(tmp_path / "tokenizer.json"))
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    loaded = load_tokenizer(tmp_path)
    input_ids, token_type_ids = loaded.framing.batch(loaded.encode(TEXTS), np.arange(len(TEXTS)))
    np.testing.assert_array_equal(input_ids, tokenizer.framing.batch(tokenizer.encode(TEXTS), np.arange(len(TEXTS)))[0])
    assert token_type_ids.any() == gives_types


def slow_cut(first, second, max_tokens):
    """BERT's own ``_truncate_seq_pair``."""
    while first + second > max_tokens:
        if first > second:
            first -= 1
        else:
            second -= 1
    return first, second


def test_pairs_are_cut_longest_first_as_bert_does():
    for max_tokens in (2, 7, 8):
        for first in range(12):
            for second in range(12):
                assert cut_pair(first, second, max_tokens) == slow_cut(first, second, max_tokens)
    sides = Sentences.from_lists([list(range(9)), [20, 21], [1], list(range(30, 39)), [1, 2], [3]])
    cut = Sentences.from_sides(sides).truncate(7)
    assert [ids.tolist() for ids in cut.sides()] == [[0, 1, 2, 3, 4], [20, 21], [1], [30, 31, 32, 33, 34, 35],
                                                     [1, 2], [3]]


def test_taking_and_joining_pairs_keeps_their_sides(tokenizer):
    pairs = tokenizer.encode(TEXTS)
    assert pairs.pairs and len(pairs) == len(TEXTS)
    chosen = Sentences.concatenate([pairs.take(np.array([3, 0])), pairs.take(pairs.lengths == 2)])
    assert chosen.to_lists() == [tuple(tokenizer.encode(TEXTS[row]).to_lists()) for row in (3, 0)]
    again = Sentences.from_sides(pairs.sides())
    for one, other in zip(again.content, pairs.content):
        np.testing.assert_array_equal(one, other)


def test_hashes_tell_where_a_pair_is_split_and_which_side_is_first():
    sides = [([1, 2], [3]), ([1], [2, 3]), ([3], [1, 2]), ([], [1, 2, 3]), ([1, 2, 3], []), ([1, 2], [3])]
    hashes = row_hashes(Sentences.from_sides(Sentences.from_lists([ids for pair in sides for ids in pair])))
    assert len(set(hashes.tolist())) == 5 and hashes[0] == hashes[-1]


def test_first_second_and_both_sides_change_in_turn():
    """Tang et al. 2019, section 3.3."""
    sides = Sentences.from_lists([[i] for i in range(12)])
    changed = Sentences.from_lists([[100 + i, 100] for i in range(12)])
    for turn in range(4):
        pairs = change_in_turn(sides, changed, turn).to_lists()
        assert [(len(first) > 1, len(second) > 1) for first, second in pairs] == [
            [(True, False), (False, True), (True, True)][(turn + row) % 3] for row in range(6)]
        assert all(first[0] % 100 == 2 * row and second[0] % 100 == 2 * row + 1
                   for row, (first, second) in enumerate(pairs))


def test_the_transfer_set_of_pairs(tokenizer, tmp_path):
    @augmentation_hook("swallow")
    def swallow(sentences, corpus, rng):
        assert not sentences.pairs  # hooks see sides as plain sentences
        return Sentences.from_lists([[5 + corpus.first + row] for row in range(len(sentences))])

    corpus = Corpus.create(tokenizer.encode(TEXTS), tokenizer, TEXTS)
    made = build_transfer_set(corpus, AugmentationConfig(n_iter=6, hooks=(HookConfig("swallow"),)), 0, tmp_path / "set")
    pairs, originals = made.sentences.to_lists(), tokenizer.encode(TEXTS).to_lists()
    assert pairs[:5] == originals and made.counts == {"originals": 5, "made": 35, "duplicates": 35 - len(pairs)}
    for row, (first, second) in enumerate(originals):
        new = [5 + 2 * row], [6 + 2 * row]
        assert {(tuple(a), tuple(b)) for (a, b), source in zip(pairs, made.source) if source == row} == {
            (tuple(a), tuple(b)) for a, b in [(first, second), (new[0], second), (first, new[1]), new]}


def test_the_default_hooks_work_on_pairs_and_repeat_themselves(tokenizer, tmp_path):
    corpus = Corpus.create(tokenizer.encode(TEXTS), tokenizer, TEXTS)
    for name in ("a", "b"):
        made = build_transfer_set(corpus, AugmentationConfig(n_iter=20), 1, tmp_path / name, max_tokens=9)
    assert (tmp_path / "a" / "tokens.npy").read_bytes() == (tmp_path / "b" / "tokens.npy").read_bytes()
    assert (tmp_path / "a" / "split.npy").read_bytes() == (tmp_path / "b" / "split.npy").read_bytes()
    assert len(made.sentences) > 30 and made.sentences.lengths.max() == 9
    assert (made.sentences.split <= made.sentences.lengths).all() and made.sentences.tokens.max() < len(VOCABULARY)
