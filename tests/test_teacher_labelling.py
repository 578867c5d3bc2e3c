"""The transfer set is labelled once; what a killed run has finished is used, what is damaged is made again."""

from __future__ import annotations

import dataclasses
import gc
import logging
import os
import threading
import time
from pathlib import Path

import numpy as np
import paddle
import pytest
from teachers import make_tiny_teacher

from paddleslim_bilstm.cpu import has_fast_bf16
from paddleslim_bilstm.errors import UserError
from paddleslim_bilstm.teacher import InferenceModel, batches_by_length, label, labelling, load_teacher, logits_of
from paddleslim_bilstm.teacher.engine import SideBySide
from paddleslim_bilstm.teacher.weights import read_pdparams
from paddleslim_bilstm.tokens import Sentences

paddle.enable_static()

CHUNK = 400


@pytest.fixture(scope="module")
def teacher(tiny_teacher, tmp_path_factory):
    return load_teacher(tiny_teacher(), tmp_path_factory.mktemp("work"))


@pytest.fixture(scope="module")
def few(teacher):
    """Sentences, and what the teacher answers to each alone."""
    sentences = random_sentences(300)
    return sentences, one_by_one(teacher, sentences)


@pytest.fixture(scope="module")
def many(teacher, tmp_path_factory):
    """Sentences of five chunks, and their labels by one engine."""
    sentences = random_sentences(1900)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(labelling, "CHUNK_SENTENCES", CHUNK)
        return sentences, np.array(label(teacher, sentences, tmp_path_factory.mktemp("many"), "many", threads=1).logits)


@pytest.fixture
def small_chunks(monkeypatch):
    monkeypatch.setattr(labelling, "CHUNK_SENTENCES", CHUNK)


def random_sentences(count: int, seed: int = 0) -> Sentences:
    rng = np.random.default_rng(seed)
    return Sentences.from_lists([rng.integers(5, 150, rng.integers(0, 25)) for _ in range(count)])


def one_by_one(teacher, sentences: Sentences) -> np.ndarray:
    model, tokenizer = InferenceModel(teacher.prefix, 1), teacher.tokenizer
    rows = [np.array([[tokenizer.cls_id, *sentence, tokenizer.sep_id]], np.int64) for sentence in sentences]
    return np.concatenate([model.run(row, np.zeros_like(row)) for row in rows])


def chunks(folder: Path) -> list[Path]:
    return sorted(folder.glob("labels-*/chunk-*"))


def test_batches_hold_every_sentence_once_within_the_budget_and_nearly_unpadded():
    lengths = np.random.default_rng(0).integers(2, 130, 5000)
    batches = list(batches_by_length(lengths, token_budget=1024, max_rows=64))
    assert sorted(np.concatenate(batches).tolist()) == list(range(5000))
    for batch in batches:
        assert len(batch) <= 64 and len(batch) * lengths[batch].max() <= 1024
        assert lengths[batch].min() >= 7 / 8 * lengths[batch].max()
    assert sum(len(batch) * lengths[batch].max() for batch in batches) < 1.02 * lengths.sum()


def test_batches_at_the_edges():
    assert list(batches_by_length(np.array([], np.int64))) == []
    assert [batch.tolist() for batch in batches_by_length(np.array([3, 9, 3, 9, 3]), 9)] == [[1], [3], [0, 2, 4]]
    assert [batch.tolist() for batch in batches_by_length(np.array([0, 5000]), 4096)] == [[1], [0]]


def test_logits_come_in_the_order_of_the_sentences(teacher, few):
    sentences, expected = few
    done = []
    logits = logits_of(InferenceModel(teacher.prefix, 1), sentences, teacher.framing, done.append)
    np.testing.assert_allclose(logits, expected, atol=1e-5)
    assert sum(done) == 300
    assert logits_of(InferenceModel(teacher.prefix, 1), random_sentences(0), teacher.framing).shape[0] == 0


@pytest.mark.parametrize("threads, engines", [(2, 2), (7, 7), (12, 6)])
def test_engines_side_by_side_answer_as_one(teacher, few, threads, engines):
    (sentences, expected), before = few, threading.active_count()
    network = teacher.engine(threads=threads)
    assert isinstance(network, SideBySide) and network._count == engines
    batches = list(batches_by_length(sentences.lengths + 2, token_budget=64))
    assert len(batches) > 2 * engines
    answers = dict((index[0], answer) for index, answer in network.answers(
        (index, teacher.framing.batch(sentences, index)) for index in batches))
    one = InferenceModel(teacher.prefix, 1)
    for index in batches:
        np.testing.assert_array_equal(answers[index[0]], one.run(*teacher.framing.batch(sentences, index)))
    together = logits_of(network, sentences, teacher.framing)
    np.testing.assert_allclose(together, expected, atol=1e-5)
    del network
    teacher.release()
    gc.collect()
    deadline = time.monotonic() + 10
    while threading.active_count() > before and time.monotonic() < deadline:
        time.sleep(0.01)
    assert threading.active_count() == before


def test_a_batch_that_fails_beside_others_ends_the_labelling(teacher):
    class Fails:
        def run(self, *batch):
            raise UserError("can't run it")
    network = SideBySide([Fails(), Fails()])
    with pytest.raises(UserError, match="can't run it"):
        logits_of(network, random_sentences(2000), teacher.framing)


def test_labels_are_the_logits_mapped_from_disk(teacher, tmp_path, small_chunks):
    sentences = random_sentences(1000)
    labels = label(teacher, sentences, tmp_path, "abc", threads=1)
    assert isinstance(labels.logits, np.memmap) and labels.logits.dtype == np.float32
    assert (labels.precision, labels.check) == ("fp32", {})
    np.testing.assert_allclose(labels.logits, logits_of(InferenceModel(teacher.prefix, 1), sentences,
                                                        teacher.framing), atol=1e-5)
    assert len(chunks(tmp_path)) == 3


def test_a_killed_run_goes_on_and_damaged_chunks_are_made_again(teacher, many, tmp_path, small_chunks, caplog):
    sentences, expected = many
    label(teacher, sentences, tmp_path, "abc", threads=1)
    files = chunks(tmp_path)
    assert len(files) == 5
    files[1].unlink()  # never finished
    files[2].write_bytes(files[2].read_bytes()[:-4])  # truncated
    altered = bytearray(files[3].read_bytes())
    altered[100] ^= 1
    files[3].write_bytes(altered)
    kept = [files[0].stat().st_mtime_ns, files[4].stat().st_mtime_ns]
    with caplog.at_level(logging.WARNING):
        again = label(teacher, sentences, tmp_path, "abc", threads=1)
    np.testing.assert_allclose(again.logits, expected, atol=1e-6)
    assert [files[0].stat().st_mtime_ns, files[4].stat().st_mtime_ns] == kept
    assert [name in caplog.text for name in ("00001", "00002", "00003")] == [False, True, True]
    assert "damaged; its 400 sentences are labelled again" in caplog.text


@pytest.mark.parametrize("links", [True, False])
def test_a_longer_transfer_set_takes_what_a_shorter_one_has(links, teacher, many, tmp_path, small_chunks,
                                                            monkeypatch):
    sentences, alone = many
    label(teacher, sentences.take(np.arange(1000)), tmp_path / "kept", "few", threads=1)
    before = {file.name: file for file in chunks(tmp_path / "kept")}
    if not links:
        monkeypatch.setattr(os, "link", lambda source, target: (_ for _ in ()).throw(OSError("no links here")))
    longer = label(teacher, sentences, tmp_path / "kept", "more", threads=1)
    np.testing.assert_array_equal(longer.logits, alone)
    after = [file for file in chunks(tmp_path / "kept") if file not in before.values()]
    assert [file.name in before for file in sorted(after)] == [True, True, False, False, False]
    assert [os.path.samefile(file, before[file.name]) for file in sorted(after)[:2]] == [links] * 2


def test_labels_of_another_teacher_are_not_taken(teacher, tmp_path, small_chunks):
    sentences = random_sentences(CHUNK)
    other = dataclasses.replace(teacher, fingerprint="another")
    for one in (teacher, other):
        label(one, sentences, tmp_path, "key", threads=1)
    assert len({file.name for file in chunks(tmp_path)}) == 2


def test_a_finished_cache_needs_no_model(teacher, tmp_path, small_chunks):
    sentences = random_sentences(900)
    expected = np.array(label(teacher, sentences, tmp_path, "abc", threads=1).logits)
    program = teacher.prefix.with_suffix(".pdmodel")
    os.rename(program, tmp_path / "gone")
    try:
        np.testing.assert_array_equal(label(teacher, sentences, tmp_path, "abc", threads=1).logits, expected)
    finally:
        os.rename(tmp_path / "gone", program)


@pytest.mark.skipif(not has_fast_bf16(), reason="needs a CPU with bf16")
def test_bf16_is_checked_against_fp32(teacher, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(labelling, "_CHECK_SENTENCES", 200)
    sentences = random_sentences(600)
    monkeypatch.setattr(labelling, "_MIN_AGREEMENT", 0.5)
    monkeypatch.setattr(labelling, "_MAX_RELATIVE_DIFFERENCE", 0.5)
    labels = label(teacher, sentences, tmp_path, "close", threads=1)
    assert labels.precision == "bf16" and labels.check["sentences"] == 200
    assert 0 < labels.check["mean_difference"] < labels.check["max_difference"] < 1
    monkeypatch.setattr(labelling, "_MAX_RELATIVE_DIFFERENCE", 0.0)
    with caplog.at_level(logging.WARNING):
        assert label(teacher, sentences, tmp_path, "far", threads=1).precision == "fp32"
    assert "labelling in fp32" in caplog.text
    again = label(teacher, sentences, tmp_path, "close", threads=1)
    assert (again.precision, again.check) == (labels.precision, labels.check)


def broken_teacher(tmp_path: Path, change) -> object:
    """A tiny teacher whose weights ``change`` has altered in place."""
    folder = make_tiny_teacher(tmp_path / "broken")
    weights = {name: value.copy() for name, value in read_pdparams(folder / "model_state.pdparams").items()}
    change(weights)
    paddle.save(weights, str(folder / "model_state.pdparams"))
    return load_teacher(folder, tmp_path / "work")


def test_a_teacher_that_does_not_mask_its_padding_is_named(teacher, tmp_path, caplog):
    label(teacher, random_sentences(20), tmp_path, "masked", threads=1)
    assert "padded" not in caplog.text
    other_padding = dataclasses.replace(teacher.framing, pad_id=9)  # the model masks token 0
    label(dataclasses.replace(teacher, framing=other_padding), random_sentences(20), tmp_path, "unmasked", threads=1)
    assert "logits change by" in caplog.text


def test_nan_is_refused_and_the_sentence_named(tmp_path):
    def change(weights):
        weights["bert.embeddings.word_embeddings.weight"][77] = np.nan
    sentences = Sentences.from_lists([[10, 11], [12, 77, 13], [14]])
    teacher = broken_teacher(tmp_path, change)
    with pytest.raises(UserError, match=rf"\[nan, nan\] to sentence 1 .*{teacher.tokenizer.vocab[77]}.*train.tsv:3"):
        label(teacher, sentences, tmp_path, "nan", threads=1, where=lambda rows: f"train.tsv:{rows[0] + 2}")
    assert not chunks(tmp_path)


def test_a_teacher_that_answers_the_same_to_everything_is_loudly_named(tmp_path, caplog):
    def change(weights):
        weights["classifier.weight"][:] = 0
    with caplog.at_level(logging.WARNING):
        label(broken_teacher(tmp_path, change), random_sentences(20), tmp_path, "constant", threads=1)
    assert "THE TEACHER ANSWERS THE SAME TO EVERY SENTENCE" in caplog.text


@pytest.mark.parametrize("changed, mean_difference, enough", [
    (0, 0.001, True), (2, 0.001, True), (6, 0.001, True),  # 2 are expected of 2,000 where 99.9 % agree
    (7, 0.001, False), (200, 0.001, False), (0, 0.02, False),
])
def test_bf16_does_where_no_more_labels_change_than_chance_explains(changed, mean_difference, enough):
    check = {"sentences": 2000, "mean_difference": mean_difference, "agreement": 1 - changed / 2000}
    assert labelling.close_enough(check, spread=1.0) == enough
