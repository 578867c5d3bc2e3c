"""The built-in hooks have the distributions of the tutorial's loop; one's own hook is one function."""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from typing import Literal

import numpy as np
import pytest
from augment_reference import PIECES, TEXTS, Hook, tiny_corpus, tiny_tokenizer, words_of
from augment_reference import crossover as plain_crossover
from augment_reference import masking as plain_masking
from augment_reference import ngram_sampling as plain_ngram_sampling
from augment_reference import pos_replacement as plain_pos_replacement

from paddleslim_bilstm.augment import (
    ChineseTagger,
    Corpus,
    EnglishTagger,
    Probability,
    augmentation_hook,
    check_hooks,
    hook_names,
)
from paddleslim_bilstm.augment.registry import apply_hooks
from paddleslim_bilstm.augment.speech import Spelling
from paddleslim_bilstm.errors import UserError
from paddleslim_bilstm.tokens import Sentences

MASK = PIECES.index("[MASK]")
LONG = "i hate the very bad plot, unbelievably bad"
DRAWS = 20_000


@pytest.fixture
def corpus(tmp_path):
    return tiny_corpus(tmp_path)


def run(corpus, *hooks, seed=0):
    sentences, view = corpus.part(0, len(corpus))
    return apply_hooks(hooks, sentences, view, np.random.default_rng(seed))


def repeated(tmp_path, text):
    """``text`` ``DRAWS`` times in one corpus: as many independent draws."""
    return tiny_corpus(tmp_path, [text] * DRAWS)


def assert_same_distribution(found: Counter, expected: Counter):
    """Two-sample chi-square test at four standard deviations; rare outcomes are put together."""
    common = [outcome for outcome in found | expected if found[outcome] + expected[outcome] >= 20]
    cells = [(found[outcome], expected[outcome]) for outcome in common]
    cells.append((sum(found.values()) - sum(a for a, _ in cells), sum(expected.values()) - sum(b for _, b in cells)))
    share = sum(found.values()) / (sum(found.values()) + sum(expected.values()))
    chi_square = sum((a - share * (a + b)) ** 2 / ((a + b) * share * (1 - share)) for a, b in cells if a + b)
    freedom = max(len(cells) - 1, 1)
    assert chi_square < freedom + 4 * (2 * freedom) ** 0.5


def outcomes(sentences):
    return Counter(tuple(ids.tolist()) for ids in sentences)


# Masking

def test_token_masking_is_the_tutorials(tmp_path):
    corpus = repeated(tmp_path, LONG)
    ids, rng = corpus.sentences[0].tolist(), random.Random(1)
    plain = Counter(tuple(plain_masking(ids, MASK, 0.1, rng)) for _ in range(DRAWS))
    result = run(corpus, Hook("masking", {"p_mask": 0.1}))
    assert_same_distribution(outcomes(result), plain)
    np.testing.assert_array_equal(result.offsets, corpus.sentences.offsets)


def test_whole_word_masking_puts_one_mask_for_a_word(tmp_path):
    corpus = repeated(tmp_path, LONG)
    words = words_of(corpus.sentences[0], corpus.sentences.word_starts)
    assert max(map(len, words)) == 4  # un ##believ ##ab ##ly
    rng = random.Random(1)
    plain = Counter(tuple(sum(plain_masking(words, MASK, 0.3, rng), [])) for _ in range(DRAWS))
    assert_same_distribution(outcomes(run(corpus, Hook("masking", {"p_mask": 0.3, "whole_word": True}))), plain)


def test_whole_word_masking_of_everything_leaves_one_mask_a_word(corpus):
    result = run(corpus, Hook("masking", {"p_mask": 1.0, "whole_word": True}))
    words = [len(words_of(ids, starts)) for ids, starts in rows(corpus.sentences)]
    assert result.lengths.tolist() == words
    assert set(result.tokens.tolist()) == {MASK} and result.word_starts.all()


def test_masking_without_a_mask_token(tmp_path):
    tokenizer = tiny_tokenizer(tmp_path, [piece for piece in PIECES if piece != "[MASK]"])
    corpus = Corpus.create(tokenizer.encode(TEXTS), tokenizer, TEXTS)
    with pytest.raises(UserError, match=r"DataAugmentation.hooks.masking: .* no mask token"):
        run(corpus, Hook("masking"))


# n-gram sampling

@pytest.mark.parametrize("ngram_range", [[2, 6], [3, 3], [1, 40]])
def test_ngram_sampling_is_the_tutorials(tmp_path, ngram_range):
    corpus = repeated(tmp_path, LONG)
    ids, rng = corpus.sentences[0].tolist(), random.Random(1)
    plain = Counter(tuple(plain_ngram_sampling(ids, 0.25, ngram_range, rng)) for _ in range(DRAWS))
    result = run(corpus, Hook("ngram_sampling", {"p_ng": 0.25, "ngram_range": ngram_range}))
    assert_same_distribution(outcomes(result), plain)


def test_ngrams_of_words(tmp_path):
    corpus = repeated(tmp_path, "watching the film unbelievably loved")
    words, rng = words_of(corpus.sentences[0], corpus.sentences.word_starts), random.Random(1)
    plain = Counter(tuple(sum(plain_ngram_sampling(words, 0.7, [2, 3], rng), [])) for _ in range(DRAWS))
    hook = Hook("ngram_sampling", {"p_ng": 0.7, "ngram_range": [2, 3], "unit": "word"})
    assert_same_distribution(outcomes(run(corpus, hook)), plain)


def test_the_tutorials_two_steps_together(tmp_path):
    corpus = repeated(tmp_path, "a dull movie , the plot")
    ids, rng = corpus.sentences[0].tolist(), random.Random(1)
    plain = Counter(tuple(plain_ngram_sampling(plain_masking(ids, MASK, 0.1, rng), 0.25, [2, 6], rng))
                    for _ in range(DRAWS))
    assert_same_distribution(outcomes(run(corpus, Hook("masking"), Hook("ngram_sampling"))), plain)


# Crossover

def test_crossover_joins_any_beginning_to_any_end(tmp_path):
    corpus = tiny_corpus(tmp_path, ["a dull movie", "we loved the great actor"] * (DRAWS // 2))
    both, rng = [corpus.sentences[row].tolist() for row in (0, 1)], random.Random(1)
    plain = Counter(tuple(plain_crossover(both[draw % 2], rng.choice(both), 0.6, rng)) for draw in range(DRAWS))
    assert_same_distribution(outcomes(run(corpus, Hook("crossover", {"p_cross": 0.6}))), plain)


def test_words_do_not_reach_across_the_seam(tmp_path):
    corpus = tiny_corpus(tmp_path, ["unbelievably"] * 200)  # one word of four pieces
    crossed = run(corpus, Hook("crossover", {"p_cross": 1.0}))
    assert {sum(starts) for _, starts in rows(crossed)} == {2}
    assert set(crossed.lengths) == set(range(2, 9))


# POS-guided replacement

def test_pos_replacement_draws_from_the_unigrams_of_the_tag(tmp_path):
    corpus = tiny_corpus(tmp_path, TEXTS * 3000)
    by_tag, tagged = words_by_tag(tiny_corpus(tmp_path))  # the same unigram distribution
    rng = random.Random(1)
    plain, found = Counter(), Counter()
    for index, (ids, starts) in enumerate(rows(run(corpus, Hook("pos_replacement", {"p_pos": 0.5})))):
        words, tags = tagged[index % len(TEXTS)]
        for counter, new in ((plain, plain_pos_replacement(words, tags, by_tag, 0.5, rng)),
                             (found, words_of(ids, starts))):
            counter.update((index % len(TEXTS), place, tuple(word)) for place, word in enumerate(new))
    assert_same_distribution(found, plain)


def test_replaced_words_keep_their_tag(corpus):
    by_tag, tagged = words_by_tag(corpus)
    changed = 0
    for seed in range(50):
        result = run(corpus, Hook("pos_replacement", {"p_pos": 1.0}), seed=seed)
        for (words, tags), (ids, starts) in zip(tagged, rows(result)):
            new_words = words_of(ids, starts)
            assert len(new_words) == len(words)
            assert all(new in by_tag[tag] for new, tag in zip(new_words, tags))
            changed += new_words != words
    assert changed > 50


def test_masked_words_are_not_replaced(corpus):
    everything_masked = run(corpus, Hook("masking", {"p_mask": 1.0}), Hook("pos_replacement", {"p_pos": 1.0}))
    assert set(everything_masked.tokens.tolist()) == {MASK}
    half = run(corpus, Hook("masking", {"p_mask": 0.5}))
    after = run(corpus, Hook("masking", {"p_mask": 0.5}), Hook("pos_replacement", {"p_pos": 1.0}))
    assert (half.tokens == MASK).sum() == (after.tokens == MASK).sum() > 0


def test_tags_follow_words_that_a_hook_moved(corpus):
    @augmentation_hook("reverse")
    def reverse(sentences, corpus, rng):
        order = np.concatenate([np.arange(a, b)[::-1] for a, b in zip(sentences.offsets[:-1], sentences.offsets[1:])])
        return Sentences(sentences.tokens[order], sentences.offsets, np.ones(len(order), bool))

    by_tag, tagged = words_by_tag(corpus)
    result = run(corpus, Hook("reverse"), Hook("pos_replacement", {"p_pos": 1.0}))
    words, tags = tagged[1]  # "a dull movie": each word one token
    new_words = words_of(*list(rows(result))[1])
    assert all(new in by_tag[tag] for new, tag in zip(new_words, tags[::-1]))


def test_english_tags_are_textblobs():
    from textblob.en import tag
    sentence = "The London film 's plot isn't good , it cost 3.5 $ in 1999 -- but we like to watch Films"
    words = sentence.split()
    assert EnglishTagger().tag(words) == [tag for _, tag in tag(sentence, tokenize=False)]


def test_tagging_works_from_token_ids_alone(tmp_path):
    tokenizer = tiny_tokenizer(tmp_path)
    sentences = tokenizer.encode([text.lower() for text in TEXTS])
    from_texts = Corpus.create(sentences, tokenizer, [text.lower() for text in TEXTS]).pos_table
    from_ids = Corpus.create(sentences, tokenizer).pos_table
    assert from_ids.tags == from_texts.tags
    np.testing.assert_array_equal(from_ids.keys, from_texts.keys)


def test_truncated_sentences_are_tagged_as_far_as_they_go(tmp_path):
    tokenizer = tiny_tokenizer(tmp_path)
    corpus = Corpus.create(tokenizer.encode(TEXTS).truncate(3), tokenizer, TEXTS)
    assert run(corpus, Hook("pos_replacement", {"p_pos": 1.0})).lengths.min() >= 1


@pytest.mark.parametrize(("text", "words"), [
    ("The FILM, isn't_good!", ["The", "FILM", ",", "isn", "'", "t", "_", "good", "!"]),
    ("the ca\u0301fe\u0301 \u00e9t\u00e9 is good", ["the", "ca\u0301fe", "\u00e9t\u00e9", "is", "good"]),
    ("good\u200b film \U0001f600", ["good", "film", "\U0001f600"]),
    ("酒x店", ["酒", "x", "店"]),
])
def test_words_stand_as_in_the_text(tmp_path, text, words):
    tokenizer = tiny_tokenizer(tmp_path)
    spelling = Spelling(tokenizer.encode([text]), tokenizer, [text])
    assert list(spelling.words(np.arange(1))) == [words]


def test_own_tagger(tmp_path):
    class ByLength:
        name = "length 1"

        def tag(self, words):
            return [str(len(word)) for word in words]

    tokenizer = tiny_tokenizer(tmp_path)
    corpus = Corpus.create(tokenizer.encode(TEXTS), tokenizer, TEXTS, tagger=ByLength())
    result = run(corpus, Hook("pos_replacement", {"p_pos": 1.0}))
    lengths = [len("".join(PIECES[token].replace("##", "") for token in word)) for word in words_of(
        result.tokens, result.word_starts)]
    expected = [len("".join(PIECES[token].replace("##", "") for token in word)) for word in words_of(
        corpus.sentences.tokens, corpus.sentences.word_starts)]
    assert lengths == expected


@pytest.mark.parametrize(("tag", "message"), [
    (lambda words: words[1:], "one tag a word"),
    (lambda words: ["".join(words) + word for word in words], "more than 256 tags"),
])
def test_taggers_that_do_not_fit(tmp_path, tag, message):
    class Odd:
        name = "odd"

        def tag(self, words):
            return tag(words)

    tokenizer = tiny_tokenizer(tmp_path)
    texts = [" ".join([a, b, c]) for a in PIECES[5:15] for b in PIECES[5:15] for c in PIECES[5:15]]
    corpus = Corpus.create(tokenizer.encode(texts), tokenizer, texts, tagger=Odd())
    with pytest.raises(UserError, match=f"tagger odd: .*{message}"):
        run(corpus, Hook("pos_replacement"))


def test_chinese_words_are_jiebas(tmp_path):
    texts = ["酒店很好", "房间不好,服务很好", "酒店服务"]
    corpus = tiny_corpus(tmp_path, texts)
    assert isinstance(corpus.tagger, ChineseTagger)
    words = [["".join(PIECES[token] for token in word) for word in words_of(ids, starts)]
             for ids, starts in rows(corpus.sentences)]
    assert words[0] == ["酒店", "很", "好"] and words[1][0] == "房间" and words[2] == ["酒店", "服务"]
    replaced = run(corpus, Hook("pos_replacement", {"p_pos": 1.0}))
    assert "".join(PIECES[token] for token in replaced[2][:2]) in ("酒店", "房间", "服务")
    masked = run(corpus, Hook("masking", {"p_mask": 1.0, "whole_word": True}))
    assert len(masked[0]) == 3


# One's own hooks, and mistakes

def test_own_hook_is_one_function(corpus):
    @augmentation_hook("forget")
    def forget(sentences, corpus, rng, *, p_forget: Probability = 0.5):
        lost = rng.random(len(sentences.tokens)) < p_forget
        tokens = np.where(lost, corpus.tokenizer.unk_id, sentences.tokens)
        return Sentences(tokens, sentences.offsets, sentences.word_starts)

    assert "forget" in hook_names()
    check_hooks([Hook("forget", {"p_forget": 1})])
    assert set(run(corpus, Hook("forget", {"p_forget": 1.0})).tokens.tolist()) == {corpus.tokenizer.unk_id}


@pytest.mark.parametrize(("hook", "key", "named"), [
    (Hook("maskin"), "DataAugmentation.hooks", ['"maskin"', '"masking"']),
    (Hook("masking", {"pmask": 0.1}), "DataAugmentation.hooks.masking", ['"pmask"', '"p_mask"']),
    (Hook("masking", {"p_mask": 1.5}), "DataAugmentation.hooks.masking.p_mask", ["1.5", "0 to 1"]),
    (Hook("masking", {"p_mask": "0.1"}), "DataAugmentation.hooks.masking.p_mask", ["'0.1'", "0 to 1"]),
    (Hook("masking", {"p_mask": float("nan")}), "DataAugmentation.hooks.masking.p_mask", ["nan", "0 to 1"]),
    (Hook("masking", {"whole_word": 1}), "DataAugmentation.hooks.masking.whole_word", ["1", "true or false"]),
    (Hook("pos_replacement", {"p_pos": True}), "DataAugmentation.hooks.pos_replacement.p_pos", ["True", "0 to 1"]),
    (Hook("ngram_sampling", {"ngram_range": [6, 2]}), "DataAugmentation.hooks.ngram_sampling.ngram_range", ["[6, 2]"]),
    (Hook("ngram_sampling", {"ngram_range": [0, 2]}), "DataAugmentation.hooks.ngram_sampling.ngram_range", ["[0, 2]"]),
    (Hook("ngram_sampling", {"unit": "line"}), "DataAugmentation.hooks.ngram_sampling.unit", ["line", "token", "word"]),
    (Hook("choosy"), "DataAugmentation.hooks.choosy", ["needed", "missing"]),
    (Hook("choosy", {"needed": 1.5}), "DataAugmentation.hooks.choosy.needed", ["1.5", "integer"]),
    (Hook("choosy", {"needed": 1, "way": "up"}), "DataAugmentation.hooks.choosy.way", ["up", "left", "right"]),
])
def test_mistakes_in_the_configuration_are_named_with_what_is_valid(hook, key, named):
    @augmentation_hook("choosy")
    def choosy(sentences, corpus, rng, *, needed: int, way: Literal["left", "right"] = "left"):
        return sentences

    check_hooks([Hook("masking"), Hook("choosy", {"needed": 1})])
    with pytest.raises(UserError) as error:
        check_hooks([Hook("masking"), hook])
    message = str(error.value)
    assert message.startswith(f"{key}: ") and all(part in message for part in named) and "\n" not in message


@pytest.mark.parametrize(("result", "message"), [
    (lambda s: s.tokens, "a ndarray; it must return Sentences"),
    (lambda s: s.take(np.arange(len(s) - 1)), "6 sentences for 7"),
    (lambda s: Sentences(s.tokens[:-1], s.offsets, s.word_starts[:-1]), "offsets that don't rise"),
    (lambda s: Sentences(s.tokens, s.offsets[::-1], s.word_starts), "offsets that don't rise"),
    (lambda s: Sentences(s.tokens, s.offsets, s.word_starts[:-1]), "of one length"),
    (lambda s: Sentences(s.tokens * 1.0, s.offsets, s.word_starts), "tokens that are no flat NumPy array of integers"),
    (lambda s: Sentences(s.tokens.tolist(), s.offsets, s.word_starts), "tokens that are no flat"),
    (lambda s: Sentences(s.tokens, s.offsets.tolist(), s.word_starts), "offsets that are no flat NumPy array of int"),
    (lambda s: Sentences(s.tokens, s.offsets * 1.0, s.word_starts), "offsets that are no flat NumPy array of int"),
    (lambda s: Sentences(s.tokens, s.offsets, None), "word_starts that are no flat NumPy array of booleans"),
    (lambda s: Sentences(s.tokens, s.offsets[:0], s.word_starts), "0 sentences for 7"),
    (lambda s: Sentences(s.tokens, s.offsets[::-1].astype(np.uint64), s.word_starts), "offsets that don't rise"),
    (lambda s: Sentences(s.tokens, s.offsets, s.word_starts, np.zeros(len(s), int)), "pairs; it gets their sides"),
    (lambda s: Sentences(s.tokens + 10_000, s.offsets, s.word_starts), f"token ids outside 0..{len(PIECES) - 1}"),
])
def test_a_hook_that_returns_nonsense_is_named(corpus, result, message):
    @augmentation_hook("broken")
    def broken(sentences, corpus, rng):
        return result(sentences)

    with pytest.raises(UserError) as error:
        run(corpus, Hook("broken"))
    assert str(error.value).startswith("DataAugmentation.hooks.broken: the hook returned")
    assert message in str(error.value)


def test_a_hook_may_return_integers_of_any_type(corpus):
    @augmentation_hook("other_types")
    def other_types(sentences, corpus, rng):
        return Sentences(sentences.tokens.astype(np.int64), sentences.offsets.astype(np.uint64),
                         sentences.word_starts.astype(np.uint8))

    result = run(corpus, Hook("other_types"))
    assert result.to_lists() == corpus.sentences.to_lists()
    assert result.offsets.dtype == np.int64 and result.word_starts.dtype == bool


def test_a_hook_can_not_change_the_originals(corpus):
    @augmentation_hook("careless")
    def careless(sentences, corpus, rng):
        sentences.tokens[:] = 0
        return sentences

    with pytest.raises(UserError, match=r"hooks.careless: the hook fails \(.*test_augment_hooks.py:\d+: .*read-only"):
        run(corpus, Hook("careless"))


def test_a_hook_of_another_shape_is_refused():
    with pytest.raises(TypeError, match="must take"):
        @augmentation_hook("odd")
        def odd(sentences, p_odd=0.1):
            return sentences


@pytest.mark.parametrize("hook", [Hook("masking", {"p_mask": 0.5}), Hook("masking", {"whole_word": True}),
                                  Hook("pos_replacement", {"p_pos": 1.0}), Hook("ngram_sampling", {"p_ng": 1.0}),
                                  Hook("crossover", {"p_cross": 1.0}),
                                  Hook("ngram_sampling", {"p_ng": 1.0, "unit": "word"})])
@pytest.mark.parametrize("texts", [[], [""], ["movie"], ["", "movie", "", "", "a film", ""]])
def test_small_inputs(tmp_path, hook, texts):
    result = run(tiny_corpus(tmp_path, texts), hook)
    assert [len(ids) > 0 for ids in result] == [bool(text) for text in texts]


def rows(sentences):
    for begin, end in zip(sentences.offsets[:-1], sentences.offsets[1:]):
        yield sentences.tokens[begin:end].tolist(), sentences.word_starts[begin:end].tolist()


def words_by_tag(corpus):
    """Every occurrence of a word by its tag, and each sentence's words and tags, found a sentence at a time."""
    tagger = EnglishTagger()
    by_tag, tagged = defaultdict(list), []
    for text, (ids, starts) in zip(corpus.texts, rows(corpus.sentences)):
        words = words_of(ids, starts)
        tags = tagger.tag(text.replace(",", " ,").replace(".", " .").split())
        assert len(tags) == len(words)
        tagged.append((words, tags))
        for word, tag in zip(words, tags):
            by_tag[tag].append(word)
    return by_tag, tagged
