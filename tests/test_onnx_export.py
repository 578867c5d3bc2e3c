import json
from dataclasses import replace

import numpy as np
import onnx
import onnxruntime
import pytest
from student_reference import random_student, reference_logits

from paddleslim_bilstm.errors import UserError
from paddleslim_bilstm.export.int8 import round_layers
from paddleslim_bilstm.export.onnx_model import build_onnx, probe, write_onnx
from paddleslim_bilstm.predict.runtimes import onnx_logits
from paddleslim_bilstm.student.spec import WORD_FEEDS
from paddleslim_bilstm.student.weights import load_student, save_student


@pytest.mark.parametrize("sizes", [
    {"num_layers": 1},
    {"num_layers": 2, "hidden_size": 5},
    {"num_layers": 3, "embed_dim": 7, "classes": 2},
    {"num_layers": 1, "pad_id": 4},
    {"num_layers": 1, "pooling": "last"},
    {"num_layers": 2, "pooling": "last"},
])
def test_logits_are_those_of_the_reference_on_a_padded_batch_of_lengths_1_to_128(tmp_path, sizes):
    weights, spec = random_student(**sizes)
    write_onnx(tmp_path / "model.onnx", weights, spec)
    input_ids = probe(len(weights["token_map"]), spec)[0]
    logits = onnx_logits(tmp_path / "model.onnx")(input_ids, np.zeros_like(input_ids))
    assert ((input_ids != spec.pad_id).sum(axis=1) == np.arange(3, 131)).all()
    assert logits.dtype == np.float32
    np.testing.assert_allclose(logits, reference_logits(weights, spec, input_ids), atol=1e-5)


def test_each_sentence_alone_gets_the_logits_it_gets_in_a_batch():
    weights, spec = random_student(num_layers=2)
    run = onnx_logits(build_onnx(weights, spec).SerializeToString())
    batch = probe(80, spec)[0][[0, 4, 60]]
    alone = np.concatenate([run(row[None, row != 0], np.zeros((1, (row != 0).sum()), np.int64)) for row in batch])
    np.testing.assert_allclose(run(batch, np.zeros_like(batch)), alone, atol=1e-6)


def test_an_empty_text_reads_one_token():
    weights, spec = random_student()
    run = onnx_logits(build_onnx(weights, spec).SerializeToString())
    empty = np.array([[2, 3, 0, 0]])
    np.testing.assert_allclose(run(empty, empty * 0), reference_logits(weights, spec, empty), atol=1e-6)


def test_the_feeds_are_the_teachers_and_segment_ids_change_nothing(tmp_path):
    weights, spec = random_student()
    write_onnx(tmp_path / "model.onnx", weights, spec)
    session = onnxruntime.InferenceSession(str(tmp_path / "model.onnx"), providers=["CPUExecutionProvider"])
    assert [(one.name, one.shape, one.type) for one in session.get_inputs()] == [
        ("input_ids", ["batch", "length"], "tensor(int64)"), ("token_type_ids", ["batch", "length"], "tensor(int64)")]
    assert [(one.name, one.shape) for one in session.get_outputs()] == [("logits", ["batch", 3])]
    input_ids = probe(80, spec)[0][:5]
    zeros, ones = (session.run(None, {"input_ids": input_ids, "token_type_ids": np.full_like(input_ids, segment)})[0]
                   for segment in (0, 1))
    np.testing.assert_array_equal(zeros, ones)


def test_the_file_is_plain_onnx_with_plain_initializers(tmp_path):
    weights, spec = random_student(num_layers=2)
    write_onnx(tmp_path / "model.onnx", weights, spec)
    model = onnx.load(str(tmp_path / "model.onnx"))
    onnx.checker.check_model(model, full_check=True)
    assert {one.domain for one in model.opset_import} == {""}
    stored = {one.name for one in model.graph.initializer}
    lstms = [node for node in model.graph.node if node.op_type == "LSTM"]
    assert len(lstms) == 2
    assert all(set(node.input[1:4]) <= stored and node.input[4] == "sequence_lens" for node in lstms)


@pytest.mark.parametrize("changes", [{"pairs": True}, {"pairs": True, "matches": True},
                                     {"vocabulary": "words", "feeds": WORD_FEEDS}])
def test_onnx_runtime_has_nothing_to_warn_of(tmp_path, capfd, changes):
    sizes = {name: value for name, value in changes.items() if name in ("pairs", "matches")}
    weights, spec = random_student(**sizes)
    spec = replace(spec, **changes)
    for number, one in enumerate((weights, round_layers(weights, spec))):
        write_onnx(tmp_path / f"{number}.onnx", one, spec)
        onnxruntime.InferenceSession(str(tmp_path / f"{number}.onnx"), providers=["CPUExecutionProvider"])
    assert "[W:onnxruntime" not in "".join(capfd.readouterr())


def test_a_student_that_answers_otherwise_than_the_reference_is_not_written(tmp_path):
    weights, spec = random_student()
    path = tmp_path / "model.onnx"
    write_onnx(path, weights, spec, reference=lambda ids, segments: reference_logits(weights, spec, ids))
    path.unlink()
    with pytest.raises(RuntimeError, match="differ from the reference by"):
        write_onnx(path, weights, spec, reference=lambda ids, segments: reference_logits(weights, spec, ids) + 2e-4)
    with pytest.raises(RuntimeError, match="differ from the reference by nan"):
        write_onnx(path, weights, spec, reference=lambda ids, segments: np.full((len(ids), 3), np.nan))
    assert not list(tmp_path.iterdir())
    years = {**weights, "output.bias": weights["output.bias"] + np.float32(2000)}  # of which a float's last bit is 1e-4
    write_onnx(path, years, spec, reference=lambda ids, segments: reference_logits(years, spec, ids) + 2e-4)
    assert path.is_file()


def test_a_student_comes_back_from_disk_as_it_was(tmp_path):
    weights, spec = random_student(num_layers=2)
    save_student(tmp_path, weights, spec)
    again, spec_again = load_student(tmp_path)
    assert spec_again == spec
    assert again.keys() == weights.keys()
    assert all((again[name] == weights[name]).all() and again[name].dtype == weights[name].dtype for name in weights)


@pytest.mark.parametrize("name, value, message", [
    ("hidden.bias", None, "no array hidden.bias"),
    ("hidden.bias", np.zeros(9, np.float32), r"hidden.bias .*\[9\].*student.json .*\[8\]"),
    ("embedding", np.zeros((50, 12)), "embedding is float64"),
    ("token_map", np.zeros(80), "token_map must be an int32 array"),
    ("token_map", np.full(80, 50, np.int32), "token_map names rows outside the embedding's 50"),
])
def test_a_wrong_array_is_named(tmp_path, name, value, message):
    weights, spec = random_student()
    weights[name] = value
    if value is None:
        del weights[name]
    with pytest.raises(UserError, match=message):
        save_student(tmp_path, weights, spec)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("damage, message", [
    (lambda values: values.update(hidden_size="8"), "hidden_size is '8'; it must be a whole number of at least 1"),
    (lambda values: values.update(format=2), "not a student of format 1"),
    (lambda values: values.pop("pad_id"), "pad_id is None"),
    (lambda values: values["label_names"].pop(), "label_names must list num_classes names"),
    (lambda values: values.update(embed_dim=13), r"embedding is float32 \[50, 12\], student.json asks for"),
])
def test_a_wrong_value_in_student_json_is_named(tmp_path, damage, message):
    save_student(tmp_path, *random_student())
    values = json.loads((tmp_path / "student.json").read_text())
    damage(values)
    (tmp_path / "student.json").write_text(json.dumps(values))
    with pytest.raises(UserError, match=message):
        load_student(tmp_path)


def test_missing_and_damaged_files_are_named(tmp_path):
    with pytest.raises(UserError, match="student.json: no such file"):
        load_student(tmp_path)
    save_student(tmp_path, *random_student())
    (tmp_path / "student.safetensors").write_bytes(b"\1\2\3")
    with pytest.raises(UserError, match="student.safetensors: not a safetensors file"):
        load_student(tmp_path)
    (tmp_path / "student.safetensors").unlink()
    with pytest.raises(UserError, match="student.safetensors: no such file"):
        load_student(tmp_path)
