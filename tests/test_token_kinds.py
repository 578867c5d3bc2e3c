"""Byte-level BPE and SentencePiece vocabularies in everything that reads tokens: ids, words, augmentation, cutting."""

from __future__ import annotations

import io
import json
import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tokenizers
from augment_reference import Hook, words_of
from reviews import make_reviews

from paddleslim_bilstm.augment import Corpus
from paddleslim_bilstm.augment.registry import apply_hooks
from paddleslim_bilstm.augment.speech import Spelling, join_chinese_words
from paddleslim_bilstm.errors import UserError
from paddleslim_bilstm.student.vocabulary import cut_vocabulary, kept_tokens
from paddleslim_bilstm.teacher.spelling import Speller
from paddleslim_bilstm.tokens import Tokenizer, copy_tokenizer, load_tokenizer
from paddleslim_bilstm.tokens.pieces import BytePieces

sentencepiece = pytest.importorskip("sentencepiece")

REVIEWS = [text.replace(" .", ".").replace(" and", ",").capitalize() for text, _ in make_reviews(150, seed=6)]
CHINESE = ["电影很好看，故事也很感人。", "酒店很好，房间不干净！", "服务很好，早餐也很好"]
SEEN = ["Unbelievably good café film, isn't it?", "naïve plot (very dull)!", "Good", "Film", "half-good ones",
        "the quick brown fox jumps over the lazy dog"]
TEXTS = [*REVIEWS, *20 * CHINESE, *9 * SEEN]
HOSTILE = [
    "", " ", "a", "Fine film \U0001f600\U0001f44d\U0001f3fd!", "中文 电影很好看。", "tabs\tand\nlines\r\n",
    "double  blanks   here ", "  before", "café naïve Ångström", "e\u0301toile", "ﬁne ½ ①",
    "“quotes” – dash… ``old'' style", "zero\u200bwidth\u00adsoft\ufeffmark", "\u0001control\u007f", "العربية עברית",
    "ไทย", "a\u00a0b\u3000c\u2009d", "1,000,5 and 9,", "\u2581under \u2581\u2581 x", "x" * 300, "HELLO World",
    "don't isn't  ", "#tag @you http://a.b/c?d=1&e",
    "İstanbul ß ẞ", "\U0001d4fb\U0001d4f6", "\u202eabc", "ａｂｃ！", "## heading"]
ROBERTAS = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]


def train_sentencepiece(**settings) -> bytes:
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(TEXTS), model_writer=model, vocab_size=500, hard_vocab_limit=False, minloglevel=2,
        **settings)
    return model.getvalue()


def write_roberta(folder: Path):
    trained = tokenizers.ByteLevelBPETokenizer()
    trained.train_from_iterator(TEXTS, 700, 2, show_progress=False, special_tokens=ROBERTAS)
    trained.save_model(str(folder))
    return lambda text: trained.encode(text, add_special_tokens=False).ids


def write_xlm_roberta(folder: Path, **settings):
    model = train_sentencepiece(**settings)
    (folder / "sentencepiece.bpe.model").write_bytes(model)
    pieces = sentencepiece.SentencePieceProcessor(model_proto=model)
    return lambda text: [place + 1 if place else 3 for place in pieces.encode(text)]


def write_camembert(folder: Path):
    write_xlm_roberta(folder)
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "CamembertTokenizer"}))
    pieces = sentencepiece.SentencePieceProcessor(model_file=str(folder / "sentencepiece.bpe.model"))
    return lambda text: [place + 4 if place else 3 for place in pieces.encode(text)]


def write_albert(folder: Path):
    model = train_sentencepiece(pad_id=0, unk_id=1, bos_id=-1, eos_id=-1, control_symbols=["[CLS]", "[SEP]"],
                                user_defined_symbols=["[MASK]"])
    (folder / "spiece.model").write_bytes(model)
    (folder / "tokenizer_config.json").write_text(json.dumps({"keep_accents": True, "do_lower_case": False}))
    pieces = sentencepiece.SentencePieceProcessor(model_proto=model)
    return lambda text: pieces.encode(text.replace("``", '"').replace("''", '"'))


def write_deberta(folder: Path):
    model = train_sentencepiece(pad_id=0, bos_id=1, eos_id=2, unk_id=3, pad_piece="[PAD]", bos_piece="[CLS]",
                                eos_piece="[SEP]", unk_piece="[UNK]", user_defined_symbols=["[MASK]"])
    (folder / "spm.model").write_bytes(model)
    return sentencepiece.SentencePieceProcessor(model_proto=model).encode


def write_xlm_roberta_of_bytes(folder: Path):
    return write_xlm_roberta(folder, byte_fallback=True)


KINDS = {"roberta": write_roberta, "xlm-roberta": write_xlm_roberta, "of bytes": write_xlm_roberta_of_bytes,
         "camembert": write_camembert, "albert": write_albert, "deberta": write_deberta}


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """Of each kind its folder, and the ids that another library gives a text."""
    made = {}
    for kind, write in KINDS.items():
        folder = tmp_path_factory.mktemp("kinds") / kind
        folder.mkdir()
        made[kind] = folder, write(folder)
    return made


@pytest.fixture(params=KINDS)
def tokenizer(request, written) -> Tokenizer:
    return load_tokenizer(written[request.param][0])


def corpus_of(tokenizer, texts=REVIEWS):
    return Corpus.create(tokenizer.encode(texts), tokenizer, texts)


def run(corpus, *hooks, seed=0):
    sentences, view = corpus.part(0, len(corpus))
    return apply_hooks(hooks, sentences, view, np.random.default_rng(seed))


def words_in(tokenizer, text) -> list[str]:
    """The words of a text, each put together from its pieces."""
    sentences = tokenizer.encode([text])
    return [tokenizer.pieces.spell(word) for word in words_of(sentences.tokens, sentences.word_starts)]


def text_of(tokenizer, ids) -> str:
    return tokenizer.pieces.spell(list(ids))


def test_word_vectors_know_a_piece_by_the_word_that_begins_with_it(tokenizer):
    words = dict(zip(tokenizer.vocab, tokenizer.pieces.as_words(range(len(tokenizer.vocab)))))
    plain = {piece: word for piece, word in words.items() if piece.isascii() and piece.isalpha()}
    begin = {piece: word for piece, word in words.items() if piece[:1] in "\u0120\u2581" and piece[1:].isalpha()}
    assert len(plain) > 10 and all(word == f"##{piece}" for piece, word in plain.items())
    assert len(begin) > 10 and all(word == piece[1:] for piece, word in begin.items() if word.isascii())
    assert words[","] == ","
    thai = replace(tokenizer.pieces, vocab=["?", "\u0e44\u0e17\u0e22", "\u3067\u3059"], unk_id=0, special=())
    if not isinstance(thai, BytePieces):  # whose letters stand for bytes
        assert thai.as_words([1, 2]) == ["\u0e44\u0e17\u0e22", "\u3067\u3059"]
    assert words[tokenizer.vocab[tokenizer.unk_id]] == tokenizer.vocab[tokenizer.unk_id]


@pytest.mark.parametrize("kind", KINDS)
def test_ids_are_those_of_the_kinds_own_library(kind, written):
    folder, reference = written[kind]
    tokenizer = load_tokenizer(folder)
    sentences = tokenizer.encode([*HOSTILE, *TEXTS])
    for text, ids in zip([*HOSTILE, *TEXTS], sentences):
        assert ids.tolist() == reference(text), text
    assert len(sentences[0]) == 0


@pytest.mark.parametrize("kind", KINDS)
def test_a_tokenizer_json_is_read_the_same(kind, written, tmp_path):
    folder, _ = written[kind]
    older = load_tokenizer(folder)
    older.rust.save(str(tmp_path / "tokenizer.json"))
    newer = load_tokenizer(tmp_path)
    np.testing.assert_array_equal(newer.encode(HOSTILE).tokens, older.encode(HOSTILE).tokens)
    np.testing.assert_array_equal(newer.encode(HOSTILE).word_starts, older.encode(HOSTILE).word_starts)
    assert (newer.cls_id, newer.sep_id, newer.pad_id, newer.unk_id, newer.mask_id, newer.separators) == (
        older.cls_id, older.sep_id, older.pad_id, older.unk_id, older.mask_id, older.separators)


def test_a_copy_of_camemberts_files_stays_camembert(written, tmp_path):
    source, (one, other) = written["camembert"][0], (tmp_path / "one", tmp_path / "other")
    shutil.copytree(source, one)
    (one / "tokenizer_config.json").write_text(json.dumps({"keep_accents": True}))
    (one / "config.json").write_text(json.dumps({"model_type": "camembert"}))
    other.mkdir()
    copy_tokenizer(one, other)
    copied, first = load_tokenizer(other), load_tokenizer(source)
    np.testing.assert_array_equal(copied.encode(HOSTILE).tokens, first.encode(HOSTILE).tokens)
    assert (copied.cls_id, copied.sep_id) == (first.cls_id, first.sep_id)
    assert json.loads((other / "tokenizer_config.json").read_text())["keep_accents"]


def test_a_tokenizer_whose_files_do_not_tell_how_it_cuts_is_refused(tmp_path):
    (tmp_path / "vocab.txt").write_text("[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\n学生\n")
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "BertJapaneseTokenizer"}))
    with pytest.raises(UserError, match="a BertJapaneseTokenizer cuts words in a way of its own.*tokenizer.json"):
        load_tokenizer(tmp_path)
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "BertTokenizerFast"}))
    assert load_tokenizer(tmp_path).vocab[5] == "学生"


@pytest.mark.parametrize("config, text, counts", [
    ({"do_lower_case": True}, "good Film", True), ({"tokenizer_class": "MPNetTokenizer", "strip_accents": True},
                                                   "good café", True),
    ({"do_lower_case": True, "tokenizer_class": "PreTrainedTokenizerFast"}, "good Film", False),
    ({"do_lower_case": False}, "good Film", False)])
def test_what_the_config_says_of_berts_normaliser_counts(tmp_path, caplog, config, text, counts):
    """As in transformers 4 and 5, of BERT and MPNet."""
    names = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "good", "film", "cafe"]
    (tmp_path / "vocab.txt").write_text("\n".join(names) + "\n")
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"do_lower_case": False}))
    load_tokenizer(tmp_path).rust.save(str(tmp_path / "tokenizer.json"))
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    known = load_tokenizer(tmp_path).encode([text]).tokens > 1
    assert known.tolist() == [True, counts]
    assert ("counts, not what tokenizer.json says" in caplog.text) == counts


def test_mpnets_vocabulary_has_names_of_its_own_where_no_file_tells(tmp_path):
    names = ["<s>", "<pad>", "</s>", "[UNK]", "good", "film", "<mask>"]
    (tmp_path / "vocab.txt").write_text("\n".join(names) + "\n")
    (tmp_path / "tokenizer_config.json").write_text('{"tokenizer_class": "MPNetTokenizer"}')
    tokenizer = load_tokenizer(tmp_path)
    assert (tokenizer.cls_id, tokenizer.pad_id, tokenizer.sep_id, tokenizer.mask_id) == (0, 1, 2, 6)
    assert tokenizer.separators == 2 and tokenizer.rust.encode("good", "film").ids == [0, 4, 2, 2, 5, 2]


def test_a_tokenizer_that_keeps_the_ends_of_long_texts_is_told_of(tmp_path, caplog):
    (tmp_path / "vocab.txt").write_text("[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\ngood\n")
    (tmp_path / "tokenizer_config.json").write_text('{"truncation_side": "left"}')
    load_tokenizer(tmp_path)
    assert "tokenizer_config.json: truncation_side is left" in caplog.text


SPECIAL = {"content": "[unused1]", "special": True, "normalized": False, "lstrip": False}


@pytest.mark.parametrize("files", [
    {"tokenizer_config.json": {"additional_special_tokens": ["[unused1]", "[absent]"]}},
    {"tokenizer_config.json": {"extra_special_tokens": {"x_token": "[unused1]"}}},
    {"tokenizer_config.json": {"bos_token": "[unused1]", "add_bos_token": True}},
    {"special_tokens_map.json": {"bos_token": SPECIAL}},
    {"special_tokens_map.json": {"additional_special_tokens": ["[absent]", SPECIAL]}},
    {"tokenizer_config.json": {"added_tokens_decoder": {"5": SPECIAL}}}])
def test_special_tokens_of_any_file_are_not_cut(tmp_path, files):
    """As in transformers and PaddleNLP; in capitals they are other words."""
    names = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "[unused1]", "[", "]", "un", "##used", "##1", "apple"]
    (tmp_path / "vocab.txt").write_text("\n".join(names) + "\n")
    for name, content in files.items():
        (tmp_path / name).write_text(json.dumps(content))
    tokenizer = load_tokenizer(tmp_path)
    assert [tokenizer.vocab[token] for token in tokenizer.encode(["[unused1] apple [UNUSED1]"])[0]] == [
        "[unused1]", "apple", "[", "un", "##used", "##1", "]"]
    assert len(tokenizer.vocab) == len(names)


def test_added_tokens_are_found_in_normalised_text_and_special_ones_as_they_are_spelled(tmp_path):
    names = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "apple"]
    (tmp_path / "vocab.txt").write_text("\n".join(names) + "\n")
    (tmp_path / "added_tokens.json").write_text(json.dumps({"<Ent>": 7, "covidvax": 6}))
    (tmp_path / "special_tokens_map.json").write_text(json.dumps({"additional_special_tokens": ["<Ent>"]}))
    tokenizer = load_tokenizer(tmp_path)
    ids = [ids.tolist() for ids in tokenizer.encode(["COVIDVAX apple", "<Ent>", "<ent>"])]
    assert ids == [[6, 5], [7], [1, 1, 1]]


def test_a_list_of_special_tokens_that_holds_something_else_is_refused(tmp_path):
    (tmp_path / "vocab.txt").write_text("[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\n")
    for value, shown in (([3], "3"), (3, "3"), ([{"lstrip": True}], "None")):
        (tmp_path / "tokenizer_config.json").write_text(json.dumps({"additional_special_tokens": value}))
        with pytest.raises(UserError, match=f"tokenizer_config.json: additional_special_tokens is {shown}, not a text"):
            load_tokenizer(tmp_path)


def test_a_vocab_txt_of_sentencepiece_is_refused(tmp_path):
    names = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "\u2581", "\u2581the", "\u2581film", "\u2581good", "s"]
    (tmp_path / "vocab.txt").write_text("\n".join(names) + "\n")
    with pytest.raises(UserError, match="vocab.txt: holds pieces of SentencePiece, such as \u2581the"):
        load_tokenizer(tmp_path)


def test_words_are_berts(tokenizer):
    """Split at spaces, before and behind punctuation; byte-level BPE has ``'t`` in one token."""
    of_not = ["'t"] if tokenizer.model == "BPE" else ["'", "t"]
    assert words_in(tokenizer, "Good film, isn't it?") == ["Good", "film", ",", "isn", *of_not, "it", "?"]
    assert words_in(tokenizer, "a  (very)  dull plot  ") == ["a", "(", "very", ")", "dull", "plot"]
    assert words_in(tokenizer, "") == []


@pytest.mark.parametrize("kind", ["roberta", "of bytes"])
def test_blanks_of_any_kind_are_no_words(kind, written):
    tokenizer = load_tokenizer(written[kind][0])
    for text in ("good\tfilm\n", "\n good \t  film \t\n", " good film"):
        words = words_in(tokenizer, text)
        assert [word for word in words if word not in ("good", "film")] == [] and len(words) == 2


def test_chinese_characters_are_no_part_of_other_words(tokenizer):
    words = words_in(tokenizer, "很好a很好，b很")
    assert {"a", "b"} < set(words) and "".join(words).replace(",", "，") == "很好a很好，b很"


@pytest.mark.parametrize("kind", ["roberta", "of bytes"])
def test_a_chinese_character_is_a_word_whatever_bytes_it_is_cut_into(kind, written):
    tokenizer = load_tokenizer(written[kind][0])
    comma = "，" if kind == "roberta" else ","  # SentencePiece normalises
    assert words_in(tokenizer, "x龘龘y店， z鑫") == ["x", "龘", "龘", "y", "店", comma, "z", "鑫"]


def test_chinese_words_are_jiebas(tokenizer):
    texts = ["房间不好，酒店干净", "电影感人"]
    sentences = tokenizer.encode(texts)
    joined = join_chinese_words(sentences, Spelling(sentences, tokenizer, texts))
    found = [tokenizer.pieces.spell(word) for word in words_of(joined[0], joined.word_starts[:joined.offsets[1]])]
    assert {"酒店", "干净"} < set(found)
    assert Corpus.create(sentences, tokenizer, texts).chinese


def test_words_stand_as_in_the_text(tokenizer):
    text = "Isn't  \U0001f600good caf\u00e9, 电影 don't"
    spelling = Spelling(tokenizer.encode([text]), tokenizer, [text])
    words = list(spelling.words(np.arange(1)))[0]
    assert words[0] == "Isn" and "".join(words[1:3]).startswith("'t") and {"caf\u00e9", ","} < set(words)
    assert len(words) == len(words_of(spelling.sentences.tokens, spelling.sentences.word_starts))


def test_a_words_pieces_are_masked_together(tokenizer):
    text = "Unbelievably unbelievable, isn't it?"
    corpus = corpus_of(tokenizer, [text] * 300)
    words = words_of(corpus.sentences[0], corpus.sentences.word_starts[:len(corpus.sentences[0])])
    assert max(map(len, words)) > 1
    result = run(corpus, Hook("masking", {"p_mask": 0.5, "whole_word": True}))
    masked = 0
    for index, ids in enumerate(result):
        found = words_of(ids, result.word_starts[result.offsets[index]:result.offsets[index + 1]])
        assert len(found) == len(words)
        for new, old in zip(found, words):
            assert list(new) in ([tokenizer.mask_id], list(old))
            masked += list(new) == [tokenizer.mask_id]
    assert 0.4 < masked / (300 * len(words)) < 0.6


def test_a_masked_word_keeps_its_distance_in_the_text(tokenizer):
    corpus = corpus_of(tokenizer, ["a good film"])
    result = run(corpus, Hook("masking", {"p_mask": 1.0, "whole_word": True}))
    mask = tokenizer.vocab[tokenizer.mask_id]
    assert Speller(tokenizer).spell(result) == [" ".join([mask] * 3)]


def test_replaced_words_have_the_tag_and_are_joined_alike(tokenizer):
    """A word from a text's beginning never lands inside of one, where nothing would part it from the word before."""
    texts = [*REVIEWS, "(good) films-plots", "Films are good", "the half-good plot"]
    corpus = corpus_of(tokenizer, texts)
    known = {word for words in Spelling(corpus.sentences, tokenizer, texts).words(np.arange(len(texts)))
             for word in words}
    changed = 0
    for seed in range(3):
        result = run(corpus, Hook("pos_replacement", {"p_pos": 1.0}), seed=seed)
        for index, (new, old) in enumerate(zip(result, corpus.sentences)):
            starts = result.word_starts[result.offsets[index]:result.offsets[index + 1]]
            words = words_of(new, starts)
            before = words_of(old, corpus.sentences.word_starts[
                corpus.sentences.offsets[index]:corpus.sentences.offsets[index + 1]])
            assert len(words) == len(before)
            spaced = [bool(tokenizer.pieces.behind_space(np.array(word[:1]))[0]) for word in words]
            assert spaced == [bool(tokenizer.pieces.behind_space(np.array(word[:1]))[0]) for word in before]
            assert set(map(tokenizer.pieces.spell, words)) <= known
            changed += words != before
    assert changed > 100
    table = corpus.pos_table
    assert len(table.tags) > len(set(table.tags)) > 5  # a tag of words behind spaces and of others


def test_replaced_words_are_drawn_as_often_as_they_occur(tokenizer):
    texts = ["a good film"] * 300 + ["a dull film"] * 100
    result = run(corpus_of(tokenizer, texts), Hook("pos_replacement", {"p_pos": 1.0}))
    counts = Counter(word for text in Speller(tokenizer).spell(result) for word in text.split())
    assert counts["good"] + counts["dull"] == 400 and 265 < counts["good"] < 335


def test_ngrams_of_words_are_whole_words(tokenizer):
    corpus = corpus_of(tokenizer)
    result = run(corpus, Hook("ngram_sampling", {"p_ng": 1.0, "ngram_range": [2, 3], "unit": "word"}))
    for index, ids in enumerate(result):
        starts = result.word_starts[result.offsets[index]:result.offsets[index + 1]]
        words = [tokenizer.pieces.spell(word) for word in words_of(ids, starts)]
        source = words_in(tokenizer, REVIEWS[index])
        assert starts[0] and len(words) == min(len(source), len(words)) in (1, 2, 3)
        assert any(source[place:place + len(words)] == words for place in range(len(source)))
    assert not any(text != text.strip() or "\ufffd" in text for text in Speller(tokenizer).spell(result))


def test_crossover_parts_words_at_the_seam(tokenizer):
    """A whole sentence behind another one begins a new word, though nothing stands before its first word."""
    texts = ["a", "film", "it"]
    corpus = corpus_of(tokenizer, texts)
    seen = set()
    for seed in range(20):
        result = run(corpus, Hook("crossover", {"p_cross": 1.0}), seed=seed)
        seen |= {text for text in Speller(tokenizer).spell(result)}
    assert {"a film", "film a", "it film"} <= seen and not {"afilm", "itfilm", "filma"} & seen, seen


def test_the_cut_keeps_all_that_occurs(tokenizer):
    sentences = tokenizer.encode([*TEXTS, *HOSTILE])
    token_map = cut_vocabulary(tokenizer, sentences)
    kept = kept_tokens(token_map, tokenizer.unk_id)
    assert set(kept.tolist()) == {tokenizer.unk_id, *sentences.tokens.tolist()}
    np.testing.assert_array_equal(kept[token_map[sentences.tokens]], sentences.tokens)
    unseen = np.setdiff1d(np.arange(len(tokenizer.vocab)), sentences.tokens)
    assert len(unseen) and set(token_map[unseen].tolist()) == {token_map[tokenizer.unk_id]}


def test_texts_come_back_from_their_tokens(tokenizer):
    texts = ["Good film, isn't it?", "a dull plot", "## heading", ""]
    spelled = Speller(tokenizer).spell(tokenizer.encode(texts))
    if tokenizer.unk_id not in tokenizer.encode(texts).tokens:
        assert spelled == texts
    assert spelled[1] == texts[1] and spelled[3] == ""


def test_letters_of_which_bytes_were_cut_off_are_left_out(written):
    tokenizer = load_tokenizer(written["roberta"][0])
    ids = tokenizer.encode(["good \U0001f600"])[0].tolist()
    assert Speller(tokenizer).spell(tokenizer.sentences_of([ids[:-1]])) == ["good"]


@pytest.mark.parametrize("hook", [Hook("masking", {"p_mask": 0.5, "whole_word": True}),
                                  Hook("pos_replacement", {"p_pos": 0.9}), Hook("crossover", {"p_cross": 0.9}),
                                  Hook("ngram_sampling", {"p_ng": 0.9, "unit": "word"})])
def test_hostile_text_goes_through_every_hook(tokenizer, hook):
    corpus = corpus_of(tokenizer, HOSTILE)
    for seed in range(3):
        assert len(run(corpus, hook, hook, seed=seed)) == len(HOSTILE)
