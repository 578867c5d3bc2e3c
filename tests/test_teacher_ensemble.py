"""Several teachers are one: the mean of their logits, each with its own tokenizer, classes sorted by name."""

from __future__ import annotations

import numpy as np
import onnxruntime
import paddle
import pytest
from onnx_teachers import OnnxClassifier, put_onnx_teacher
from reviews import make_reviews
from teachers import VOCABULARY

from paddleslim_bilstm import compress
from paddleslim_bilstm.errors import UserError
from paddleslim_bilstm.report.costs import teacher_parameters
from paddleslim_bilstm.report.measure import DevSet, measure_teacher
from paddleslim_bilstm.teacher import label, load_teacher, load_teachers
from paddleslim_bilstm.teacher.ensemble import Translated

paddle.enable_static()

TEXTS = [text for text, _ in make_reviews(30, seed=3)]


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Two classifiers, and the first one with its vocabulary in another order and another mask token."""
    root, one, other = tmp_path_factory.mktemp("members"), OnnxClassifier(), OnnxClassifier(seed=1)
    put_onnx_teacher(root / "one", one.model(), label_names=["bad", "good"])
    put_onnx_teacher(root / "other", other.model(), label_names=["bad", "good"])
    swapped = OnnxClassifier(seed=1)
    swapped.output = swapped.output[:, ::-1]
    put_onnx_teacher(root / "swapped", swapped.model(), label_names=["Good", "Bad"])
    order = np.random.default_rng(0).permutation(len(VOCABULARY))
    same = OnnxClassifier()
    same.words = one.words[order]
    names = ["<mask>" if name == "[MASK]" else name for name in np.array(VOCABULARY)[order].tolist()]
    put_onnx_teacher(root / "translated", same.model(), label_names=["bad", "good"], vocabulary=names,
                     mask_token="<mask>")
    put_onnx_teacher(root / "three", OnnxClassifier(classes=3).model())
    put_onnx_teacher(root / "cats", other.model(), label_names=["cat", "dog"])
    put_onnx_teacher(root / "nameless", other.model())
    return root


def load(folders, tmp_path, *names):
    return load_teachers([str(folders / name) for name in names], tmp_path / "work")


def logits(folders, tmp_path, name, sentences):
    return load(folders, tmp_path, name).logits(sentences)


@pytest.mark.parametrize("second", ["other", "swapped", "nameless"])
def test_the_logits_are_averaged_in_the_order_of_the_first_ones_classes(second, folders, tmp_path):
    both = load(folders, tmp_path, "one", second)
    sentences = both.tokenizer.encode(TEXTS)
    mean = (logits(folders, tmp_path, "one", sentences) + logits(folders, tmp_path, "other", sentences)) / 2
    np.testing.assert_allclose(both.logits(sentences), mean, atol=1e-5)
    assert both.label_names == ("bad", "good")
    np.testing.assert_array_equal(both.embeddings, load(folders, tmp_path, "one").embeddings)


def test_one_with_another_tokenizer_reads_the_text_and_its_own_mask(folders, tmp_path):
    both = load(folders, tmp_path, "one", "translated")
    assert isinstance(both.members[1].teacher, Translated)
    sentences = both.tokenizer.encode(TEXTS)
    sentences.tokens[::5] = both.tokenizer.mask_id
    sentences.tokens[1::7] = both.tokenizer.unk_id
    expected = logits(folders, tmp_path, "one", sentences)
    assert np.ptp(expected, axis=0).max() > 0.1
    np.testing.assert_allclose(both.members[1].logits(sentences), expected, atol=1e-5)
    np.testing.assert_allclose(both.logits(sentences), expected, atol=1e-5)
    pairs = both.tokenizer.encode(list(zip(TEXTS[::2], TEXTS[1::2])))
    np.testing.assert_allclose(both.members[1].logits(pairs), logits(folders, tmp_path, "one", pairs), atol=1e-5)


def test_the_text_that_it_reads_is_the_one_that_was_written(folders, tmp_path):
    both = load(folders, tmp_path, "one", "translated")
    known = both.tokenizer.encode(["THE Film"])
    before = both.members[1].teacher.fingerprint_for(known)
    read = both.reading(known, ["THE Film"]).members[1].teacher
    assert read.speller.spell(known) == ["THE Film"]
    assert read.fingerprint_for(known) != before
    others = both.tokenizer.encode(["a plot"])
    assert read.fingerprint_for(others) == both.members[1].teacher.fingerprint_for(others)


def test_it_cuts_what_it_reads_to_what_it_takes(folders, tmp_path):
    short = OnnxClassifier(positions=20)
    put_onnx_teacher(tmp_path / "short", short.model(), vocabulary=VOCABULARY[::-1])
    both = load_teachers([str(folders / "one"), str(tmp_path / "short")], tmp_path / "work")
    own, read = both.members[1].teacher.asked(both.tokenizer.encode(["the film " * 30]))
    assert (both.max_length, own.max_length, read.lengths.tolist()) == (None, 20, [18])


def test_a_network_without_a_limit_is_not_given_a_whole_book(folders, tmp_path):
    """Of a known text the writing is read, however little of it the student reads."""
    both = load(folders, tmp_path, "one", "translated")
    book = "the film " * 2000
    cut = both.tokenizer.encode([book]).truncate(30)
    own, read = both.reading(cut, [book]).members[1].teacher.asked(cut)
    assert read.lengths.tolist() == [512 - own.framing.special_tokens(False)]


@pytest.mark.parametrize("second, reason", [
    ("three", "three has 3 classes and .*one 2; several teachers must have the same"),
    ("cats", "cats names its classes cat, dog, not bad, good; mend id2label")])
def test_other_classes_are_refused(second, reason, folders, tmp_path):
    with pytest.raises(UserError, match=f"Global.model_dir: .*{reason}"):
        load(folders, tmp_path, "one", second)


def test_each_ones_labels_are_kept_and_serve_in_other_company(folders, tmp_path):
    one = load(folders, tmp_path, "one")
    sentences = one.tokenizer.encode(TEXTS)
    label(one, sentences, tmp_path / "labels", "key", threads=1)
    chunks = {file: file.stat().st_mtime_ns for file in (tmp_path / "labels").glob("*/chunk-*")}
    both = load(folders, tmp_path, "one", "swapped")
    labels = label(both, sentences, tmp_path / "labels", "key", threads=1)
    np.testing.assert_allclose(labels.logits, both.logits(sentences), atol=1e-6)
    assert (labels.precision, labels.check) == ("fp32", {})
    assert len(chunks) == 1 and len(list((tmp_path / "labels").glob("*/chunk-*"))) == 2
    assert all(file.stat().st_mtime_ns == before for file, before in chunks.items())


def test_what_several_cost_is_the_sum_and_each_ones_quality_is_told(folders, tmp_path, tiny_teacher):
    paddle_one = tiny_teacher()
    both = load_teachers([str(folders / "one"), str(paddle_one)], tmp_path / "work")
    sentences = both.tokenizer.encode(TEXTS)
    each = tuple(member.logits(sentences).argmax(1) for member in both.members)
    dev = DevSet(sentences, each[0], both.logits(sentences).argmax(1), 2, both.framing, member_predictions=each)
    row = measure_teacher(both, dev)
    alone = [load_teacher(folders / "one", tmp_path / "work"), load_teacher(paddle_one, tmp_path / "work")]
    assert row.parameters == teacher_parameters(both) == sum(map(teacher_parameters, alone))
    assert row.flops > 0 and row.latency_ms.p50 > 0 and "Paddle Inference" in row.runtime and "ONNX" in row.runtime
    assert "one (100.0 %)" in row.notes[0] and f"{paddle_one.name} (" in row.notes[0]


def test_a_student_of_onnx_and_paddle_teachers_takes_the_first_ones_place(folders, tmp_path, tiny_teacher):
    places = [str(folders / "one" / "model.onnx"), str(tiny_teacher()), str(folders / "translated")]
    config = {"Global": {"model_dir": places, "save_dir": str(tmp_path / "out"), "cache_dir": str(tmp_path / "cache"),
                         "max_seq_length": 64},
              "bert_to_bilstm": {"student": {"embed_dim": 16, "hidden_size": 16}, "train_alone": False},
              "DataAugmentation": {"n_iter": 1}, "TrainConfig": {"epochs": 1}}
    result = compress(config, train=[(text, ["bad", "good"][label]) for text, label in make_reviews(200, seed=0)],
                      dev=[(text, ["bad", "good"][label]) for text, label in make_reviews(60, seed=1)])
    session = onnxruntime.InferenceSession(str(result.save_dir / "model.onnx"))
    assert [feed.name for feed in session.get_inputs()] == ["input_ids", "attention_mask"]
    teacher = result.report.models[0]
    assert (teacher.name, teacher.agreement) == ("teacher", 1.0) and "translated (" in teacher.notes[0]
    assert (result.save_dir / "vocab.txt").read_text() == (folders / "one" / "vocab.txt").read_text()
