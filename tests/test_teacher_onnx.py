"""An ONNX file is a teacher: labelled with by ONNX Runtime, its embeddings and costs read from it, others refused."""

from __future__ import annotations

import logging

import numpy as np
import onnx
import paddle
import pytest
from onnx import TensorProto
from onnx_teachers import HIDDEN, OnnxClassifier, put_onnx_teacher, with_int8_words
from student_reference import random_student
from teachers import VOCABULARY, make_tiny_teacher

from paddleslim_bilstm.errors import UserError
from paddleslim_bilstm.export.onnx_model import write_onnx
from paddleslim_bilstm.report.costs import onnx_flops, onnx_parameters, onnx_size_bytes, teacher_parameters
from paddleslim_bilstm.report.measure import metric_of_onnx
from paddleslim_bilstm.student.train import metric_on
from paddleslim_bilstm.teacher import OnnxTeacher, PaddleTeacher, load_teacher
from paddleslim_bilstm.teacher.onnx_teacher import OnnxEngine
from paddleslim_bilstm.tokens import Feed

paddle.enable_static()

TEXTS = ["the film is great !", "a boring plot , and the acting was awful .", "not bad", "fun", ""]
ENOUGH = len(VOCABULARY) * HIDDEN + HIDDEN * HIDDEN + HIDDEN * 2


@pytest.fixture(scope="module")
def classifier():
    return OnnxClassifier()


def load(place, tmp_path, **options) -> OnnxTeacher:
    return load_teacher(place, tmp_path / "work", **options)


def expected(classifier, teacher, texts=TEXTS) -> np.ndarray:
    tokenizer = teacher.tokenizer
    return np.stack([classifier.answer([tokenizer.cls_id, *ids, tokenizer.sep_id]) for ids in tokenizer.encode(texts)])


def assert_answers(classifier, teacher, tolerance=1e-5):
    np.testing.assert_allclose(teacher.logits(teacher.tokenizer.encode(TEXTS)), expected(classifier, teacher),
                               atol=tolerance)


@pytest.mark.parametrize("dtype, name", [(TensorProto.INT64, "int64"), (TensorProto.INT32, "int32")])
@pytest.mark.parametrize("feeds, roles", [
    (("input_ids", "attention_mask"), ["ids", "mask"]),
    (("x", "mask_of_x", "segment_ids"), ["ids", "mask", "types"])])
def test_the_answers_are_the_models_and_each_input_has_its_role(feeds, roles, dtype, name, classifier, tmp_path):
    folder = put_onnx_teacher(tmp_path / "teacher", classifier.model(feeds, dtype), label_names=["bad", "good"])
    teacher = load(folder, tmp_path)
    assert teacher.framing.feeds == tuple(Feed(feed, role, name) for feed, role in zip(feeds, roles))
    assert (teacher.num_classes, teacher.label_names, teacher.max_length) == (2, ("bad", "good"), None)
    assert_answers(classifier, teacher)
    np.testing.assert_array_equal(teacher.embeddings, classifier.words)


def test_a_table_of_positions_limits_the_length_and_a_fixed_width_does(classifier, tmp_path):
    with_positions = OnnxClassifier(positions=40)
    teacher = load(put_onnx_teacher(tmp_path / "positions", with_positions.model()), tmp_path)
    assert teacher.max_length == 40
    assert_answers(with_positions, teacher)
    fixed = load(put_onnx_teacher(tmp_path / "fixed", classifier.model(shape=("batch", 12))), tmp_path)
    assert (fixed.max_length, fixed.framing.width) == (12, 12)
    assert_answers(classifier, fixed)


@pytest.mark.parametrize("said, longest", [(None, 3000), (2500, 2500), (4096, 3000)])
def test_a_large_table_of_positions_is_not_tried(said, longest, tmp_path, monkeypatch):
    folder = put_onnx_teacher(tmp_path / "teacher", OnnxClassifier(positions=3000).model())
    if said:
        (folder / "config.json").write_text(f'{{"max_position_embeddings": {said}}}')
    widths, outputs = [], OnnxEngine.outputs
    monkeypatch.setattr(OnnxEngine, "outputs", lambda self, batch, *names: (
        widths.append(batch[0].shape[1]), outputs(self, batch, *names))[1])
    assert load(folder, tmp_path).max_length == longest
    assert widths and max(widths) < 100


def test_what_the_configuration_says_of_the_length_counts_where_no_table_ends(classifier, tmp_path):
    folder = put_onnx_teacher(tmp_path / "teacher", classifier.model())
    (folder / "config.json").write_text('{"max_position_embeddings": 50}')
    assert load(folder, tmp_path).max_length == 50


def test_a_file_without_a_configuration_has_that_of_the_tokenizers_folder(classifier, tmp_path):
    folder = put_onnx_teacher(tmp_path / "teacher", classifier.model())
    checkpoint = put_onnx_teacher(tmp_path / "checkpoint", classifier.model())
    (checkpoint / "config.json").write_text('{"max_position_embeddings": 50, "id2label": {"0": "no", "1": "yes"}}')
    teacher = load(folder / "model.onnx", tmp_path, tokenizer_dir=checkpoint)
    assert (teacher.max_length, teacher.label_names) == (50, ("no", "yes"))


def test_half_precision_embeddings_are_read(classifier, tmp_path):
    half = load(put_onnx_teacher(tmp_path / "half", classifier.model(half=True)), tmp_path)
    np.testing.assert_array_equal(half.embeddings, classifier.words)
    assert_answers(classifier, half)


@pytest.mark.parametrize("how", [{"dtype": np.int8}, {"dtype": np.uint8}, {"behind": False},
                                 {"behind": False, "by_row": True, "dtype": np.uint8}])
def test_int8_embeddings_are_read(how, classifier, tmp_path):
    teacher = load(put_onnx_teacher(tmp_path / "int8", with_int8_words(classifier.model(), **how)), tmp_path)
    assert 0 < np.abs(teacher.embeddings - classifier.words).max() < 0.03
    assert_answers(classifier, teacher, tolerance=0.1)
    assert teacher_parameters(teacher) == ENOUGH


def test_embeddings_that_are_not_found_are_none(tmp_path):
    """A student of ours looks its tokens' rows up first."""
    weights, spec = random_student(vocab=len(VOCABULARY))
    folder = put_onnx_teacher(tmp_path / "student", OnnxClassifier().model())
    write_onnx(folder / "model.onnx", weights, spec)
    teacher = load(folder, tmp_path)
    assert teacher.embeddings is None and teacher.num_classes == 3
    assert np.isfinite(teacher.logits(teacher.tokenizer.encode(TEXTS))).all()


def test_weights_in_a_file_beside_it(classifier, tmp_path):
    folder = put_onnx_teacher(tmp_path / "teacher", classifier.model(), save_as_external_data=True, size_threshold=256,
                              location="model.onnx.data")
    teacher = load(folder, tmp_path)
    assert_answers(classifier, teacher)
    np.testing.assert_array_equal(teacher.embeddings, classifier.words)
    data = folder / "model.onnx.data"
    assert onnx_size_bytes(folder / "model.onnx") == (folder / "model.onnx").stat().st_size + data.stat().st_size
    content = bytearray(data.read_bytes())
    content[3] ^= 1
    data.write_bytes(content)
    assert load(folder, tmp_path).fingerprint != teacher.fingerprint
    data.unlink()
    with pytest.raises(UserError, match=r"model.onnx: its weights are in 'model.onnx.data', which is no file beside"):
        load(folder, tmp_path)


def test_weights_elsewhere_are_not_followed(classifier, tmp_path):
    (tmp_path / "secret").write_bytes(bytes(1 << 16))
    model = classifier.model()
    words = next(one for one in model.graph.initializer if one.name == "words")
    words.ClearField("raw_data")
    words.data_location = TensorProto.EXTERNAL
    words.external_data.add(key="location", value="../secret")
    folder = tmp_path / "teacher"
    put_onnx_teacher(folder, OnnxClassifier().model())
    (folder / "model.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(UserError, match="'../secret', which is no file beside it"):
        load(folder, tmp_path)


def test_costs_are_counted(classifier, tmp_path):
    file = put_onnx_teacher(tmp_path / "teacher", classifier.model()) / "model.onnx"
    assert onnx_parameters(file) == ENOUGH
    assert onnx_size_bytes(file) == file.stat().st_size
    batch = np.ones((1, 9), np.int64)
    assert onnx_flops(file, (batch, batch)) == 2 * HIDDEN * HIDDEN + 2 * HIDDEN * 2


def test_an_eval_callback_of_paddleslims_shape_runs_on_it(classifier, tmp_path):
    file = put_onnx_teacher(tmp_path / "teacher", classifier.model(outputs=["probabilities"])) / "model.onnx"
    teacher = load(file, tmp_path)
    dev = teacher.tokenizer.encode(TEXTS)
    labels = expected(classifier, teacher).argmax(1)
    assert metric_of_onnx(file, metric_on(dev, labels, teacher.framing), teacher.output) == 1.0
    assert metric_of_onnx(file, metric_on(dev, 1 - labels, teacher.framing), teacher.output) == 0.0


def test_the_logits_are_found_among_outputs_and_probabilities_are_warned_of(classifier, tmp_path, caplog):
    outputs = ["last_hidden_state", "pooler_output", "logits"]
    teacher = load(put_onnx_teacher(tmp_path / "several", classifier.model(outputs=outputs)), tmp_path)
    assert teacher.output == "logits" and not [one for one in caplog.records if one.levelno >= logging.WARNING]
    assert_answers(classifier, teacher)
    teacher = load(put_onnx_teacher(tmp_path / "softmax", classifier.model(outputs=["probabilities"])), tmp_path)
    assert teacher.output == "probabilities" and "returns probabilities, not logits" in caplog.text


def test_which_file_it_is(classifier, tmp_path, caplog):
    folder = put_onnx_teacher(tmp_path / "teacher", classifier.model(), "odd.onnx")
    assert load(folder, tmp_path).file == load(folder / "odd.onnx", tmp_path).file == folder / "odd.onnx"
    put_onnx_teacher(folder, classifier.model(), "second.onnx")
    with pytest.raises(UserError, match=r"holds 2 ONNX models \(odd.onnx, second.onnx\); name one as"):
        load(folder, tmp_path)
    assert load(folder, tmp_path, model_filename="second.onnx").file == folder / "second.onnx"
    put_onnx_teacher(folder, classifier.model())
    assert load(folder, tmp_path).file == folder / "model.onnx"
    with pytest.raises(UserError, match="Global.model_filename: .*absent.onnx is missing"):
        load(folder, tmp_path, model_filename="absent.onnx")
    with pytest.raises(UserError, match="Global.model_dir: .*absent.onnx is missing"):
        load(folder / "absent.onnx", tmp_path)
    with pytest.raises(UserError, match="Global.params_filename: .*says itself where its weights are"):
        load(folder, tmp_path, params_filename="weights")


def test_a_file_in_the_folder_onnx_is_named_by_the_setting(classifier, tmp_path):
    folder = put_onnx_teacher(tmp_path / "teacher", classifier.model())
    (folder / "onnx").mkdir()
    (folder / "model.onnx").rename(folder / "onnx" / "model.onnx")
    (folder / "pytorch_model.bin").write_bytes(b"")
    for named in (None, "model.onnx"):
        with pytest.raises(UserError, match="; for the one in its folder onnx, set Global.model_filename: onnx/m"):
            load(folder, tmp_path, model_filename=named)
    assert load(folder, tmp_path, model_filename="onnx/model.onnx").file == folder / "onnx" / "model.onnx"


def test_a_paddle_model_goes_before_an_onnx_file_beside_it(classifier, tmp_path, caplog):
    folder = make_tiny_teacher(tmp_path / "teacher")
    onnx.save(classifier.model(), str(folder / "model.onnx"))
    with caplog.at_level(logging.INFO):
        assert isinstance(load(folder, tmp_path), PaddleTeacher)
    assert "not model.onnx beside it" in caplog.text
    assert isinstance(load(folder, tmp_path, model_filename="model.onnx"), OnnxTeacher)


def cut(model):
    return model.SerializeToString()[:-100]


@pytest.mark.parametrize("content, reason", [
    (lambda one: b"", "ONNX Runtime can't load it|not an ONNX model|takes nothing"),
    (lambda one: b"\xff" * 50, "not an ONNX model"),
    (lambda one: cut(one.model()), "not an ONNX model|can't load it"),
    (lambda one: one.model(outputs=["last_hidden_state"]),
     rf"none of its outputs \(last_hidden_state \[batch, length, {HIDDEN}\]\) could be logits.*optimum-cli"),
    (lambda one: one.model(outputs=["last_hidden_state", "pooler_output"]),
     rf"none of its outputs \(.*pooler_output \[batch, {HIDDEN}\]\) could be logits"),
    (lambda one: one.model(outputs=["logits", "probabilities"]), None),
    (lambda one: one.model(("input_ids", "attention_mask", "position_ids")), "position_ids seems to take positions"),
    (lambda one: one.model(("input_ids", "attention_mask", "pixels")), "of which two seem to be the same"),
    (lambda one: one.model(shape=(1, "length")), r"its input input_ids is int64 \[1, -1\], not int64 \[-1, -1\]"),
    (lambda one: one.model(dtype=TensorProto.FLOAT16), r"its input input_ids is tensor\(float16\)"),
])
def test_what_is_no_classifier_is_refused_in_a_line(content, reason, classifier, tmp_path):
    folder = put_onnx_teacher(tmp_path / "teacher", classifier.model())
    made = content(classifier)
    (folder / "model.onnx").write_bytes(made if isinstance(made, bytes) else made.SerializeToString())
    if reason is None:
        assert load(folder, tmp_path).output == "logits"
        return
    with pytest.raises(UserError, match=reason) as refusal:
        load(folder, tmp_path)
    assert "model.onnx: " in str(refusal.value) and len(str(refusal.value).splitlines()) == 1


def test_a_tokenizer_with_more_tokens_than_the_model_is_refused(classifier, tmp_path):
    folder = put_onnx_teacher(tmp_path / "teacher", classifier.model(), vocabulary=[*VOCABULARY, "more"])
    with pytest.raises(UserError, match=f"has {len(VOCABULARY) + 1} tokens, the model embeds only {len(VOCABULARY)}"):
        load(folder, tmp_path)
