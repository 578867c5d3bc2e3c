"""The transfer set: rounds, duplicates, the same bytes for the same seed, and caches that can't lie."""

from __future__ import annotations

import logging

import numpy as np
import pytest
from augment_reference import TEXTS, Augmentation, Hook, tiny_corpus, tiny_tokenizer

from paddleslim_bilstm.augment import (
    Corpus,
    augmentation_hook,
    build_transfer_set,
    load_transfer_set,
    transfer_set_fingerprint,
)
from paddleslim_bilstm.augment import transfer_set as transfer_sets
from paddleslim_bilstm.augment import words as chunks
from paddleslim_bilstm.augment.transfer_set import SeenHashes, rounds_of
from paddleslim_bilstm.augment.words import sequence_hashes
from paddleslim_bilstm.errors import UserError
from paddleslim_bilstm.tokens import Sentences

FILES = ["offsets.npy", "source.npy", "split.npy", "tokens.npy", "transfer_set.json", "word_starts.npy"]


@pytest.fixture
def corpus(tmp_path):
    return tiny_corpus(tmp_path)


def lists(transfer_set):
    return [ids.tolist() for ids in transfer_set.sentences]


def contents(folder):
    assert sorted(path.name for path in folder.iterdir()) == FILES
    return [(folder / name).read_bytes() for name in FILES]


def test_originals_come_first_and_duplicates_are_gone(corpus, tmp_path):
    made = build_transfer_set(corpus, Augmentation(5), 0, tmp_path / "set")
    assert lists(made)[:6] == [ids.tolist() for ids in corpus.sentences][:6]  # the 7th text equals the 1st
    assert made.source[:6].tolist() == [0, 1, 2, 3, 4, 5] and made.source.dtype == np.int32
    assert len({tuple(ids) for ids in lists(made)}) == len(made.sentences) == len(made.source)
    assert made.counts == {"originals": 7, "made": 42, "duplicates": 42 - len(made.sentences)}
    first = made.sentences.take(np.arange(6))
    np.testing.assert_array_equal(first.word_starts, corpus.sentences.take(np.arange(6)).word_starts)
    assert not first.word_starts.all()


def test_first_of_equals_is_kept(corpus, tmp_path, monkeypatch):
    """Against a plain set, over many chunks."""
    monkeypatch.setattr(chunks, "_TOKENS_PER_CHUNK", 12)
    everything = []

    @augmentation_hook("spy")
    def spy(sentences, corpus, rng):
        everything.extend((tuple(ids.tolist()), corpus.first + i) for i, ids in enumerate(sentences))
        return sentences

    hooks = (Hook("masking", {"p_mask": 0.3}), Hook("ngram_sampling", {"p_ng": 0.9}), Hook("spy"))
    made = build_transfer_set(corpus, Augmentation(40, hooks), 3, tmp_path / "set")
    firsts = {}
    for ids, source in [(tuple(ids.tolist()), i) for i, ids in enumerate(corpus.sentences)] + everything[1:]:
        firsts.setdefault(ids, source)
    assert len(everything) == 1 + 40 * 7  # one sentence is tried first
    assert list(firsts.items()) == list(zip(map(tuple, lists(made)), made.source.tolist()))


def test_same_seed_same_bytes(corpus, tmp_path):
    for name, seed in [("a", 1), ("b", 1), ("c", 2)]:
        build_transfer_set(corpus, Augmentation(10), seed, tmp_path / name)
    assert contents(tmp_path / "a") == contents(tmp_path / "b")
    assert contents(tmp_path / "a")[3] != contents(tmp_path / "c")[3]


def test_without_a_number_rounds_suit_the_text(corpus, tmp_path, monkeypatch):
    count = len(corpus.sentences)
    tokens = int(corpus.sentences.lengths.sum()) + 2 * count
    assert rounds_of(corpus, Augmentation(4)) == 4 and rounds_of(corpus, Augmentation(0)) == 0
    assert rounds_of(corpus, Augmentation(None)) == 100  # so little text
    monkeypatch.setattr(transfer_sets, "_TOKENS", 3 * tokens)
    assert rounds_of(corpus, Augmentation(None)) == 3
    assert rounds_of(corpus, Augmentation(None), 1) == round(3 * tokens / (3 * count))  # a token of each, two special
    made = build_transfer_set(corpus, Augmentation(None), 0, tmp_path / "set")
    assert made.counts["made"] == 4 * count
    assert made.key == transfer_set_fingerprint(corpus, Augmentation(3), 0)
    monkeypatch.setattr(transfer_sets, "_TOKENS", tokens // 10)
    assert rounds_of(corpus, Augmentation(None)) == 1


def test_more_rounds_only_add(corpus, tmp_path):
    few = build_transfer_set(corpus, Augmentation(3), 0, tmp_path / "few")
    many = build_transfer_set(corpus, Augmentation(9), 0, tmp_path / "many")
    assert lists(many)[:len(few.sentences)] == lists(few) and len(many.sentences) > len(few.sentences)


@pytest.mark.parametrize("texts", [[], [""], ["movie"], ["", "movie", ""]])
def test_small_corpora(tmp_path, texts):
    made = build_transfer_set(tiny_corpus(tmp_path, texts), Augmentation(3), 0, tmp_path / "set")
    assert lists(made)[:1] == [tiny_tokenizer(tmp_path).encode(texts)[0].tolist()] if texts else not lists(made)
    assert made.counts["made"] == 4 * len(texts)


def test_no_rounds_and_no_hooks(corpus, tmp_path):
    assert len(build_transfer_set(corpus, Augmentation(0), 0, tmp_path / "no rounds").sentences) == 6
    assert len(build_transfer_set(corpus, Augmentation(4, ()), 0, tmp_path / "no hooks").sentences) == 6


def test_cut_to_max_tokens(corpus, tmp_path):
    made = build_transfer_set(corpus, Augmentation(20), 0, tmp_path / "set", max_tokens=4)
    assert made.sentences.lengths.max() == 4
    assert len({tuple(ids) for ids in lists(made)}) == len(made.sentences)


def test_a_sound_set_is_not_made_again(corpus, tmp_path):
    calls = []

    @augmentation_hook("count calls")
    def count_calls(sentences, corpus, rng):
        calls.append(1)
        return sentences

    for _ in range(2):
        build_transfer_set(corpus, Augmentation(2, (Hook("count calls"),)), 0, tmp_path / "set")
    assert len(calls) == 3  # one sentence is tried first, then two rounds
    assert len(load_transfer_set(tmp_path / "set").sentences) == 6


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("damage", ["flip", "truncate", "remove"])
def test_a_damaged_set_is_made_again(corpus, tmp_path, caplog, name, damage):
    build_transfer_set(corpus, Augmentation(3), 0, tmp_path / "set")
    sound, file = contents(tmp_path / "set"), tmp_path / "set" / name
    data = file.read_bytes()
    if damage == "remove":
        file.unlink()
    else:
        file.write_bytes(data[:-3] if damage == "truncate" else data[:-3] + bytes([data[-3] ^ 8]) + data[-2:])
    with pytest.raises(UserError, match="not a sound transfer set"):
        load_transfer_set(tmp_path / "set")
    with caplog.at_level(logging.WARNING):
        build_transfer_set(corpus, Augmentation(3), 0, tmp_path / "set")
    assert "made again" in caplog.text and "\n" not in caplog.records[0].getMessage()
    assert contents(tmp_path / "set") == sound


def test_a_set_of_other_settings_is_made_again(corpus, tmp_path, caplog):
    build_transfer_set(corpus, Augmentation(3), 0, tmp_path / "set")
    with caplog.at_level(logging.WARNING):
        again = build_transfer_set(corpus, Augmentation(4), 0, tmp_path / "set")
    assert "other data or settings" in caplog.text and again.counts["made"] == 35


def test_nothing_half_written_when_a_hook_fails(corpus, tmp_path):
    @augmentation_hook("fails")
    def fails(sentences, corpus, rng):
        raise RuntimeError("no")

    with pytest.raises(UserError, match="hooks.fails: the hook fails .*RuntimeError: no"):
        build_transfer_set(corpus, Augmentation(1, (Hook("fails"),)), 0, tmp_path / "sets" / "set")
    assert not list((tmp_path / "sets").iterdir())


def test_the_fingerprint_covers_what_matters(tmp_path):
    corpus = tiny_corpus(tmp_path)

    def mark(corpus=corpus, augmentation=None, seed=0, max_tokens=None):
        return transfer_set_fingerprint(corpus, augmentation or Augmentation(3), seed, max_tokens)

    others = [mark(seed=1), mark(max_tokens=9), mark(augmentation=Augmentation(4)),
              mark(augmentation=Augmentation(3, (Hook("masking"),))),
              mark(augmentation=Augmentation(3, (Hook("masking", {"p_mask": 0.2}),))),
              mark(Corpus.create(corpus.sentences, corpus.tokenizer)),
              mark(tiny_corpus(tmp_path, [text.upper() for text in TEXTS])),
              mark(tiny_corpus(tmp_path, TEXTS[::-1]))]
    for body in ("return sentences", "return sentences.take(np.arange(len(sentences)))"):
        space = {"np": np}
        exec(f"def own(sentences, corpus, rng):\n    {body}", space)
        augmentation_hook("own")(space["own"])
        others.append(mark(augmentation=Augmentation(3, (Hook("own"),))))
    assert len({mark(), *others}) == len(others) + 1
    assert mark() == mark(tiny_corpus(tmp_path))
    assert mark(augmentation=Augmentation(1, (Hook("masking"),))) == \
        mark(augmentation=Augmentation(1, (Hook("masking", {"p_mask": 0.1}),)))  # the default, written out


def test_a_hook_of_pairs_is_always_given_whole_pairs(tmp_path):
    tokenizer, pairs = tiny_tokenizer(tmp_path), [("a dull movie", "the plot"), ("i hate the film", "movie")]

    @augmentation_hook("swap")
    def swap(sentences, corpus, rng):
        return sentences.take(np.arange(len(sentences)).reshape(-1, 2)[:, ::-1].reshape(-1))

    made = build_transfer_set(Corpus.create(tokenizer.encode(pairs), tokenizer, pairs),
                              Augmentation(3, (Hook("swap"),)), 0, tmp_path / "set")
    swapped = [pair[::-1] for pair in made.sentences.to_lists()[:2]]
    assert all(pair in made.sentences.to_lists() for pair in swapped)


def test_an_unknown_hook_is_refused_before_any_work(corpus, tmp_path):
    with pytest.raises(UserError, match='did you mean "masking"'):
        build_transfer_set(corpus, Augmentation(1, (Hook("masks"),)), 0, tmp_path / "set")
    assert not (tmp_path / "set").exists()


def test_hashes_tell_sequences_apart():
    sentences = [[1, 2], [2, 1], [1], [1, 1], [], [0], [0, 0], [1, 2, 0], [2], [3]]
    packed = Sentences.from_lists(sentences + sentences)
    hashes = sequence_hashes(packed.tokens, packed.lengths)
    assert len(set(hashes.tolist())) == len(sentences)
    np.testing.assert_array_equal(hashes[:10], hashes[10:])


def test_seen_hashes_are_a_set():
    rng, seen, plain = np.random.default_rng(0), SeenHashes(), set()
    for size in (0, 1, 50_000, 100_000, 60_000):
        hashes = rng.integers(0, 120_000, size).astype(np.uint64) << np.uint64(3)  # dense, with 0 and repetitions
        expected = []
        for index, value in enumerate(hashes.tolist()):
            if value not in plain:
                plain.add(value)
                expected.append(index)
        assert seen.add(hashes).tolist() == expected
    assert len(seen) == len(plain)


def test_sst2_in_full(shared, tmp_path):
    """The figures of an independent trial: 741 thousand distinct of 1.41 million."""
    from paddleslim_bilstm.tokens import load_tokenizer
    lines = (shared / "data/sst2/train.tsv").read_text(encoding="utf-8").splitlines()[1:]
    tokenizer = load_tokenizer(shared / "teachers/minilm-sst2")
    texts = [line.split("\t")[0] for line in lines]
    corpus = Corpus.create(tokenizer.encode(texts), tokenizer, texts)
    made = build_transfer_set(corpus, Augmentation(20, (Hook("masking"), Hook("ngram_sampling"))), 0, tmp_path / "set")
    assert made.counts["made"] == 1_414_329
    assert abs(len(made.sentences) - 741_505) < 2500
