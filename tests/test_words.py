"""A student of words: its vocabulary, its feeds, the whole job, English and Chinese."""

import io
import json
import shutil
import sys
from dataclasses import replace

import numpy as np
import onnxruntime
import pytest
from paddle import enable_static
from reviews import write_reviews
from student_reference import random_student, reference_logits
from teachers import VOCABULARY

from paddleslim_bilstm import compress
from paddleslim_bilstm.augment import Corpus, build_transfer_set, load_transfer_set
from paddleslim_bilstm.cli import main
from paddleslim_bilstm.config import load_config
from paddleslim_bilstm.errors import UserError
from paddleslim_bilstm.export.int8 import round_layers
from paddleslim_bilstm.export.onnx_model import write_onnx
from paddleslim_bilstm.export.paddle_model import export_paddle_model, read_paddle_model
from paddleslim_bilstm.predict import Predictor
from paddleslim_bilstm.predict.runtimes import onnx_logits, paddle_logits
from paddleslim_bilstm.student.spec import WORD_FEEDS
from paddleslim_bilstm.student.vocabulary import build_word_vocabulary, load_word_vocabulary
from paddleslim_bilstm.tokens import Sentences, load_tokenizer

TEXTS = ["the filmings films are filmings", "the films are good", "not good !", "zzz the q9 [MASK]"]
REVIEWS = ["酒店很好", "酒店服务很好", "服务很好，酒店干净", "房间不好", "房间很好", "早餐不好，房间不干净"]


@pytest.fixture(scope="module")
def teacher(tiny_teacher):
    return tiny_teacher()


@pytest.fixture(scope="module")
def chinese_teacher(teacher, tmp_path_factory):
    """The tiny teacher with Chinese characters for words."""
    folder = shutil.copytree(teacher, tmp_path_factory.mktemp("chinese") / "teacher")
    characters = sorted(set("".join(REVIEWS)))
    rest = [f"[unused{number}]" for number in range(len(VOCABULARY) - 5 - len(characters))]
    (folder / "vocab.txt").write_text("\n".join([*VOCABULARY[:5], *characters, *rest]) + "\n", encoding="utf-8")
    return folder


@pytest.fixture
def tokenizer(teacher):
    return load_tokenizer(teacher)


def spelled(vocabulary, sentences):
    return [[vocabulary.words[row] for row in rows] for rows in sentences]


def test_words_are_groups_of_tokens_that_occur_often_enough_the_commonest_first(tokenizer):
    vocabulary = build_word_vocabulary(tokenizer.encode(TEXTS), tokenizer, False, 2)
    assert vocabulary.words == ("[UNK]", "[MASK]", "the", "filmings", "films", "are", "good")
    assert spelled(vocabulary, vocabulary.encode(TEXTS, 32)) == [
        ["the", "filmings", "films", "are", "filmings"], ["the", "films", "are", "good"], ["[UNK]", "good", "[UNK]"],
        ["[UNK]", "the", "[UNK]", "[MASK]"]]
    with pytest.raises(UserError, match="min_count: no word of the training text occurs 9 times; lower it, or leave"):
        build_word_vocabulary(tokenizer.encode(TEXTS), tokenizer, False, 9)
    with pytest.raises(UserError, match="min_count: no word of the training text occurs 2 times; add text, or leave"):
        build_word_vocabulary(tokenizer.encode(["good"]), tokenizer, False, 2)


def test_what_augmentation_leaves_of_a_word_is_masked_or_unknown(tokenizer):
    vocabulary = build_word_vocabulary(tokenizer.encode(TEXTS), tokenizer, False, 2)
    films, filmings = tokenizer.encode(["films"])[0].tolist(), tokenizer.encode(["filmings"])[0].tolist()
    assert len(films) == 2 and len(filmings) > 2
    changed = Sentences.from_lists(
        [films, films[1:], [films[0], tokenizer.mask_id], [], [tokenizer.mask_id, *filmings]],
        [[True, False], [False], [True, False], [], [True, True, *[False] * (len(filmings) - 1)]])
    assert spelled(vocabulary, vocabulary.rows_of_words(changed)) == [
        ["films"], ["[UNK]"], ["[MASK]"], [], ["[MASK]", "filmings"]]


def test_feeds_are_padded_words_and_their_numbers(tokenizer):
    vocabulary = build_word_vocabulary(tokenizer.encode(TEXTS), tokenizer, False, 2)
    sentences = vocabulary.encode(["the films", "", "good"], 32)
    ids, lengths = vocabulary.batch(sentences, np.array([2, 0, 1]))
    assert ids.tolist() == [[6, 0], [2, 4], [0, 0]] and lengths.tolist() == [1, 2, 0]
    ids, lengths = vocabulary.batch(sentences, np.array([1]))
    assert ids.shape == (1, 1) and lengths.tolist() == [0]


def test_a_words_embedding_is_the_mean_of_its_tokens(tokenizer):
    vocabulary = build_word_vocabulary(tokenizer.encode(TEXTS), tokenizer, False, 2)
    table = np.random.default_rng(0).normal(size=(len(tokenizer.vocab), 5)).astype(np.float32)
    mean = vocabulary.embeddings(table)
    assert mean.shape == (7, 5) and mean.dtype == np.float32
    np.testing.assert_allclose(mean[:2], table[[tokenizer.unk_id, tokenizer.mask_id]])
    np.testing.assert_allclose(mean[3], table[tokenizer.encode(["filmings"])[0]].mean(0), rtol=1e-5)


def test_a_saved_vocabulary_is_read_back_and_a_damaged_one_refused(tokenizer, tmp_path):
    vocabulary = build_word_vocabulary(tokenizer.encode(TEXTS), tokenizer, False, 2)
    vocabulary.save(tmp_path)
    assert load_word_vocabulary(tmp_path, tokenizer, False) == vocabulary
    for damaged in (b"[UNK]\n[MASK]\n", b"the\nfilm\n", b"[UNK]\n[MASK]\n\xff\n", b"[UNK]\n[MASK]\nthe\n\nfilm\n"):
        (tmp_path / "words.txt").write_bytes(damaged)
        with pytest.raises(UserError, match="words.txt: .*damaged; copy .*folder"):
            load_word_vocabulary(tmp_path, tokenizer, False)


def test_chinese_words_are_jiebas_in_training_and_in_use(chinese_teacher):
    tokenizer = load_tokenizer(chinese_teacher)
    corpus = Corpus.create(tokenizer.encode(REVIEWS), tokenizer, REVIEWS)
    vocabulary = build_word_vocabulary(corpus.sentences, tokenizer, corpus.chinese, 2)
    assert vocabulary.chinese and {"酒店", "服务", "房间", "很", "好"} <= set(vocabulary.words)
    trained, used = vocabulary.rows_of_words(corpus.sentences), vocabulary.encode(REVIEWS, 64)
    np.testing.assert_array_equal(trained.tokens, used.tokens)
    np.testing.assert_array_equal(trained.offsets, used.offsets)
    assert spelled(vocabulary, used)[0] == ["酒店", "很", "好"]
    assert spelled(vocabulary, vocabulary.encode(["酒店服务很好"], 2 + 4)) == [["酒店", "服务"]]  # four characters


def test_without_jieba_a_chinese_student_says_what_to_install(chinese_teacher, tmp_path, monkeypatch):
    from paddleslim_bilstm.student import vocabulary as words
    monkeypatch.setattr(words, "find_spec", lambda name: None)
    with pytest.raises(UserError, match="pip install jieba"):
        load_word_vocabulary(tmp_path, load_tokenizer(chinese_teacher), True)


def test_the_transfer_set_keeps_where_words_begin(chinese_teacher, tmp_path):
    tokenizer = load_tokenizer(chinese_teacher)
    corpus = Corpus.create(tokenizer.encode(REVIEWS), tokenizer, REVIEWS)
    hooks = {"bert_to_bilstm": None,
             "DataAugmentation": {"n_iter": 5, "hooks": [{"masking": {"p_mask": 0.3, "whole_word": True}}]}}
    made = build_transfer_set(corpus, load_config(hooks).augmentation, 0, tmp_path / "set").sentences
    np.testing.assert_array_equal(made.word_starts[:len(corpus.sentences.tokens)], corpus.sentences.word_starts)
    np.testing.assert_array_equal(load_transfer_set(tmp_path / "set").sentences.word_starts, made.word_starts)
    vocabulary = build_word_vocabulary(corpus.sentences, tokenizer, True, 2)
    rows = vocabulary.rows_of_words(made)
    assert len(rows) == len(made) > len(corpus) and (rows.tokens == 1).sum() == (made.tokens == tokenizer.mask_id).sum()


@pytest.mark.parametrize("num_layers", [1, 2])
def test_every_format_answers_a_padded_batch_as_each_sentence_alone(tmp_path, num_layers):
    enable_static()
    weights, spec = random_student(rows=50, vocab=50, num_layers=num_layers, pad_id=-1)
    weights["token_map"] = np.arange(50, dtype=np.int32)
    tokens_spec, spec = spec, replace(spec, vocabulary="words", pad_id=0, feeds=WORD_FEEDS)
    prefix = export_paddle_model(tmp_path, spec, weights)
    paddle = paddle_logits(prefix)
    write_onnx(tmp_path / "model.onnx", weights, spec, reference=paddle)
    write_onnx(tmp_path / "int8.onnx", round_layers(weights, spec), spec)
    rng = np.random.default_rng(0)
    lengths = np.array([1, 5, 12, 3])
    ids = rng.integers(0, 50, (4, 12))
    alone = np.concatenate([reference_logits(weights, tokens_spec, np.array([[0, *row[:length], 0]]))
                            for row, length in zip(ids, lengths)])
    np.testing.assert_allclose(paddle(ids, lengths), alone, atol=1e-5)
    np.testing.assert_allclose(onnx_logits(tmp_path / "model.onnx")(ids, lengths), alone, atol=1e-5)
    assert np.abs(onnx_logits(tmp_path / "int8.onnx")(ids, lengths) - alone).max() < 0.1 * np.ptp(alone)
    session = onnxruntime.InferenceSession(str(tmp_path / "model.onnx"), providers=["CPUExecutionProvider"])
    assert {feed.name: feed.shape for feed in session.get_inputs()} == {
        "word_ids": ["batch", "length"], "lengths": ["batch"]}
    back = read_paddle_model(prefix, spec)
    for name, value in weights.items():
        np.testing.assert_array_equal(back[name], value)


@pytest.fixture
def config(teacher, tiny_teacher, tmp_path):
    data = write_reviews(tmp_path)
    return {"Global": {"model_dir": str(teacher), "train_file": str(data / "train.tsv"),
                       "dev_file": str(data / "dev.tsv"), "save_dir": str(tmp_path / "out"),
                       "cache_dir": str(tiny_teacher.seed(tmp_path / "cache", teacher)), "max_seq_length": 32},
            "bert_to_bilstm": {"student": {"embed_dim": 16, "hidden_size": 16, "vocabulary": "words"}},
            "DataAugmentation": {"n_iter": 2}, "TrainConfig": {"epochs": 2, "eval_iter": 20}}


def test_the_whole_job_with_words(config, tmp_path, capsys, monkeypatch):
    config["QuantPost"], config["QuantBiLSTM"] = {"batch_nums": 2}, {"max_accuracy_drop": 0.3}
    result = compress(config)
    assert [row.name for row in result.report.models] == [
        "teacher", "Bi-LSTM alone", "distilled", "QuantPost", "QuantBiLSTM, Paddle", "ONNX", "QuantBiLSTM"]
    out = tmp_path / "out"
    words = (out / "words.txt").read_text(encoding="utf-8").split("\n")
    assert words[:2] == ["[UNK]", "[MASK]"] and "film" in words
    assert any(f"{len(words) - 1} words of its own" in note for note in result.report.notes)
    assert "word_ids" in (out / "report.md").read_text(encoding="utf-8")

    texts = ["the food is great .", "", "the zebra is not great ."]
    onnx = Predictor(out, "onnx").logits(texts)
    np.testing.assert_allclose(Predictor(out, "paddle").logits(texts), onnx, atol=0.05)
    np.testing.assert_allclose(Predictor(out).logits(texts, batch_size=1), onnx, atol=0.1 * np.abs(onnx).max())
    assert main(["evaluate", str(out), "--data", str(tmp_path / "dev.tsv"), "--runtime", "onnx"]) == 0
    row = next(row for row in result.report.models if row.name == "ONNX")
    assert json.loads(capsys.readouterr().out)["accuracy"] == pytest.approx(row.accuracy)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"the food is great .\n")))
    assert main(["predict", str(out)]) == 0
    assert json.loads(capsys.readouterr().out)["label"] in "01"


@pytest.mark.slow
def test_the_whole_job_with_chinese_words(config, chinese_teacher, tmp_path):
    config["Global"].update(model_dir=str(chinese_teacher), train_file=None, dev_file=None)
    rows = [(text, int("不" not in text)) for text in REVIEWS] * 3
    compress(config, train=rows, dev=rows)
    assert json.loads((tmp_path / "out" / "student.json").read_text())["vocabulary"] == "jieba"
    assert "酒店" in (tmp_path / "out" / "words.txt").read_text(encoding="utf-8").split("\n")
    logits = Predictor(tmp_path / "out").logits(["酒店很好", "房间不好"])
    assert np.isfinite(logits).all() and np.abs(logits[0] - logits[1]).max() > 1e-3


def test_what_words_cant_do_is_refused_in_one_line(config):
    with pytest.raises(UserError, match="word_ids and lengths, which your eval_callback does not feed"):
        compress(config, eval_callback=lambda *arguments: 0.0)
    for name in ("train_file", "dev_file"):
        del config["Global"][name]
    pairs = [(("the film", "a movie"), 1), (("bad food", "good food"), 0)] * 3
    with pytest.raises(UserError, match="vocabulary: words is for single sentences"):
        compress(config, train=pairs, dev=pairs)


def test_a_student_larger_than_its_teacher_is_told(config, caplog):
    config["bert_to_bilstm"]["student"].update(hidden_size=128)
    config["bert_to_bilstm"]["train_alone"] = False
    config["TrainConfig"] = {"train_iter": 1}
    notes = compress(config).report.notes
    assert any("more than its teacher" in note for note in notes)
    assert any("more than its teacher" in record.message for record in caplog.records if record.levelname == "WARNING")
