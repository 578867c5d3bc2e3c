"""Sentences and pairs as models read them, found again in their feeds, and drop-in students of every kind of feeds."""

from dataclasses import replace

import numpy as np
import paddle
import pytest
from student_reference import random_student

from paddleslim_bilstm.export.onnx_model import probe, write_onnx
from paddleslim_bilstm.export.paddle_model import export_paddle_model
from paddleslim_bilstm.predict.runtimes import batch_logits, onnx_logits, paddle_logits, sentence_logits
from paddleslim_bilstm.student.spec import read_spec, write_spec
from paddleslim_bilstm.tokens import BERT_FEEDS, Feed, Framing, Sentences

CLS, SEP, PAD = 2, 3, 0
MASKED = (Feed("x0", "ids"), Feed("x1", "mask"), Feed("x2", "types"))  # as PaddleSlim's Hugging Face example
ODD = (Feed("types", "types", "int32"), Feed("mask", "mask", "float32"), Feed("ids", "ids", "int32"))
ONLY_IDS = (Feed("ids", "ids"),)


def framing(feeds=BERT_FEEDS, **settings):
    return Framing(feeds, PAD, CLS, SEP, **settings)


def pairs_of(*pairs):
    return Sentences.from_sides(Sentences.from_lists([list(side) for pair in pairs for side in pair]))


def test_single_sentences():
    ids, types = framing().batch(Sentences.from_lists([[7, 8], [9], []]), np.array([0, 2, 1]))
    assert ids.tolist() == [[CLS, 7, 8, SEP], [CLS, SEP, PAD, PAD], [CLS, 9, SEP, PAD]]
    assert not types.any() and ids.dtype == types.dtype == np.int64


def test_pairs_with_types_and_mask_in_the_models_order_and_numbers():
    types, mask, ids = framing(ODD).batch(pairs_of(([7], [8, 9]), ([], [5])), np.arange(2))
    assert ids.tolist() == [[CLS, 7, SEP, 8, 9, SEP], [CLS, SEP, 5, SEP, PAD, PAD]]
    assert types.tolist() == [[0, 0, 0, 1, 1, 1], [0, 0, 1, 1, 0, 0]]
    assert mask.tolist() == [[1] * 6, [1] * 4 + [0] * 2]
    assert (types.dtype, mask.dtype, ids.dtype) == (np.int32, np.float32, np.int32)


def test_two_separators_and_a_fixed_width():
    (ids,) = framing(ONLY_IDS, width=8, separators=2).batch(pairs_of(([7], [8]),), np.array([0]))
    assert ids.tolist() == [[CLS, 7, SEP, SEP, 8, SEP, PAD, PAD]]


@pytest.mark.parametrize("pairs", [False, True])
@pytest.mark.parametrize("feeds", [BERT_FEEDS, MASKED, ODD, ONLY_IDS])
@pytest.mark.parametrize("settings", [{}, {"width": 20}, {"separators": 2}])
def test_what_was_framed_is_found_again_and_lists_are_framed_alike(pairs, feeds, settings):
    sentences = pairs_of(([7], [8, 9]), ([5, 6], [4]), ([], [9])) if pairs else Sentences.from_lists([[7], [8, 9], []])
    one = framing(feeds, **settings)
    batch = one.batch(sentences, np.arange(3))
    assert one.contents(dict(zip([feed.name for feed in feeds], batch))) == [
        (tuple(row[0]), tuple(row[1])) if pairs else (tuple(row), ()) for row in sentences.to_lists()]
    rows, of_second = zip(*[one.frame(ids, 32) for ids in sentences.to_lists()])
    for array, expected in zip(one.pad(rows, of_second), batch):
        np.testing.assert_array_equal(array, expected)
    for number, (row, second) in enumerate(zip(rows, of_second)):
        for array, expected in zip(one.pad([row], [second]), one.batch(sentences, np.array([number]))):
            np.testing.assert_array_equal(array, expected)
            assert array.dtype == expected.dtype


def test_a_mask_decides_what_is_padding():
    """Even where a sentence holds the padding's id, as unknown words do in some vocabularies."""
    ids = np.array([[CLS, PAD, 7, SEP, PAD]])
    feed = {"x0": ids, "x1": np.array([[1, 1, 1, 1, 0]]), "x2": ids * 0}
    assert framing(MASKED).contents(feed) == [((PAD, 7), ())]


def test_lists_are_cut_to_what_is_served():
    assert framing().frame([7, 8, 9, 5], 4) == ([CLS, 7, 8, SEP], 0)
    assert framing().frame(([7, 8, 9], [5]), 6) == ([CLS, 7, 8, SEP, 5, SEP], 2)
    assert framing(separators=2).frame(([7, 8, 9], [5]), 7) == ([CLS, 7, 8, SEP, SEP, 5, SEP], 2)


@pytest.mark.parametrize("pairs", [False, True])
@pytest.mark.parametrize("feeds, width, separators", [
    (MASKED, None, 1), (MASKED, 24, 1), (ODD, None, 1), (ONLY_IDS, None, 1), (ONLY_IDS, 24, 2), (BERT_FEEDS, 24, 2)])
def test_the_student_answers_any_feeds_as_berts(tmp_path, feeds, width, separators, pairs):
    """The same sentences, framed for each student in its own way, get the logits of a drop-in for a plain BERT."""
    paddle.enable_static()
    weights, plain = random_student(pairs=pairs, classes=2)
    plain = replace(plain, sep_id=SEP)
    spec = replace(plain, feeds=feeds, width=width, separators=separators)
    rng = np.random.default_rng(0)
    sides = Sentences.from_lists([rng.integers(4, 80, rng.integers(pairs == 0, 9)).tolist() for _ in range(24)])
    sentences = Sentences.from_sides(sides) if pairs else sides
    (tmp_path / "plain").mkdir()
    expected = batch_logits(paddle_logits(export_paddle_model(tmp_path / "plain", plain, weights)), sentences,
                            framing(), 8)
    paddle_run = paddle_logits(export_paddle_model(tmp_path, spec, weights))
    write_onnx(tmp_path / "model.onnx", weights, spec, reference=paddle_run)
    own = framing(feeds, width=width, separators=separators)
    for run in (paddle_run, onnx_logits(tmp_path / "model.onnx")):
        np.testing.assert_allclose(batch_logits(run, sentences, own, 8), expected, atol=1e-5)
        np.testing.assert_allclose(sentence_logits(run, sentences.to_lists(), own, 32, 8), expected, atol=1e-5)
    write_spec(tmp_path, spec)
    assert read_spec(tmp_path) == spec


@pytest.mark.usefixtures("in_old_programs")
def test_the_students_feeds_are_the_teachers_by_name_order_and_type(tmp_path):
    weights, spec = random_student()
    spec = replace(spec, feeds=ODD, width=16)
    model = export_paddle_model(tmp_path, spec, weights)
    program, names, _ = paddle.static.load_inference_model(str(model), paddle.static.Executor(paddle.CPUPlace()))
    found = [program.global_block().var(name) for name in names]
    assert [one.name for one in found] == ["types", "mask", "ids"]
    assert {tuple(one.shape) for one in found} == {(-1, 16)}
    assert [one.dtype for one in found] == [paddle.int32, paddle.float32, paddle.int32]
    assert all(array.shape == (14, 16) for array in probe(80, spec))
