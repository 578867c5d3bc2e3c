import logging

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from student_reference import break_hidden_layer, dev_set, output_folder, random_student

from paddleslim_bilstm.export.int8 import int8_layers, quantize_student, round_layers, table_to_int8, to_int8
from paddleslim_bilstm.export.onnx_model import build_onnx, probe
from paddleslim_bilstm.predict.runtimes import onnx_logits, sentence_logits
from paddleslim_bilstm.student.graph import Int8Array
from paddleslim_bilstm.student.weights import weight_shapes


def test_rounding_is_symmetric_and_within_half_a_step():
    array = np.random.default_rng(0).normal(size=(6, 9)).astype(np.float32)
    array[2] = 0
    array[3, 4] = 0
    for axis, shape in ((1, (6, 1)), (0, (1, 9))):
        rounded = to_int8(array, axis)
        assert rounded.values.dtype == np.int8 and rounded.scale.shape == shape
        assert (np.abs(rounded.to_float() - array) <= rounded.scale * 0.5001).all()
        assert (rounded.values[array == 0] == 0).all()
        assert np.abs(rounded.values).max() == 127


def test_a_matrix_that_is_multiplied_uses_7_bits_so_that_no_cpu_overflows():
    weights, spec = random_student()
    rounded = round_layers(weights, spec)
    assert np.abs(rounded["embedding"].values).max() == 127
    assert np.abs(rounded["lstm.0.forward.weight_hh"].values).max() == 64
    assert np.abs(rounded["hidden.weight"].values).max() == 64


@pytest.mark.parametrize("sizes", [{}, {"num_layers": 2}, {"hidden_size": 40, "embed_dim": 30}])
def test_the_int8_student_stays_close_to_the_float_one(sizes):
    weights, spec = random_student(**sizes)
    batch = probe(80, spec)[0]
    exact, rounded = (onnx_logits(build_onnx(one, spec).SerializeToString())(batch, batch * 0)
                      for one in (weights, round_layers(weights, spec)))
    assert np.abs(exact - rounded).max() < 0.1 * np.ptp(exact)
    assert 0 < np.abs(exact - rounded).mean() < 0.03 * np.ptp(exact)


@pytest.mark.parametrize("layer", ["embedding", "lstm.0", "lstm.1", "hidden"])
def test_each_layer_can_be_the_only_int8_one(layer):
    """The float graph with the rounded values in float differs from the int8 one by activations only."""
    weights, spec = random_student(num_layers=2)
    rounded = round_layers(weights, spec, [layer])
    in_float = {name: one.to_float() if isinstance(one, Int8Array) else one for name, one in rounded.items()}
    assert {name for name, one in rounded.items() if isinstance(one, Int8Array)} == set(int8_layers(spec)[layer])
    batch = probe(80, spec)[0]
    exact, found = (onnx_logits(build_onnx(one, spec).SerializeToString())(batch, batch * 0)
                    for one in (in_float, rounded))
    np.testing.assert_allclose(found, exact, atol=1e-6 if layer == "embedding" else 0.05 * np.ptp(exact))


@pytest.mark.parametrize("sizes", [{}, {"num_layers": 2}, {"pooling": "attention"}, {"pairs": True},
                                   {"encoder": "bigru"}])
@pytest.mark.parametrize("layers", [None, ["lstm.0"], ["hidden"]])
def test_an_int8_answer_does_not_depend_on_the_texts_beside_it(sizes, layers):
    weights, spec = random_student(**sizes)
    if layers and sizes.get("encoder"):
        layers = ["hidden"]
    sizes_of_rows = np.geomspace(0.1, 3, len(weights["embedding"]), dtype=np.float32)
    weights["embedding"] = weights["embedding"] * sizes_of_rows[:, None]
    run = onnx_logits(build_onnx(round_layers(weights, spec, layers), spec).SerializeToString())
    batch = probe(len(weights["token_map"]), spec)
    together = run(*batch)
    for row in (0, 1, 5, 60, 127):
        used = int((batch[0][row] != spec.pad_id).sum())
        alone = run(*(feed[row:row + 1, :used] for feed in batch))[0]
        np.testing.assert_allclose(alone, together[row], atol=1e-6)


def test_rounding_a_table_in_equal_steps_cuts_off_an_outlier_that_costs_more_than_it_is_worth():
    table = np.random.default_rng(0).uniform(-1, 1, (5_000, 40)).astype(np.float32)
    plain = table_to_int8(table)
    assert plain.scale.shape == (1, 1) and np.abs(plain.to_float() - table).max() < 0.51 / 127
    table[0, 0] = 60
    cut = table_to_int8(table)
    assert cut.scale < 0.6 * 60 / 127 and cut.values[0, 0] == 127
    assert not table_to_int8(0 * table).values.any()


def test_pruned_weights_are_zero_in_the_file(tmp_path):
    weights, spec = random_student(num_layers=2)
    rng = np.random.default_rng(1)
    for name in weight_shapes(spec, 50):
        weights[name] = weights[name] * (rng.random(weights[name].shape) < 0.4).astype(np.float32)
    model = build_onnx(round_layers(weights, spec), spec)
    stored = {one.name: numpy_helper.to_array(one) for one in model.graph.initializer}
    assert (stored["embedding.int8"][:, :spec.embed_dim][weights["embedding"] == 0] == 0).all()
    assert (stored["hidden.weight.int8"][weights["hidden.weight"] == 0] == 0).all()
    for layer in range(2):
        for part in ("weight_ih", "weight_hh"):
            pruned = sum((weights[f"lstm.{layer}.{direction}.{part}"] == 0).sum()
                         for direction in ("forward", "backward"))
            assert (stored[f"lstm.{layer}.{part}.int8"] == 0).sum() >= pruned > 0


def test_300_units_shrink_to_27_percent():
    weights, spec = random_student(rows=11_571, vocab=30_522, embed_dim=300, hidden_size=300, classes=2)
    exact, rounded = (build_onnx(one, spec).ByteSize()
                      for one in (weights, round_layers(weights, spec)))
    assert rounded < 0.27 * exact


def test_the_result_says_what_was_gained_and_lost(tmp_path):
    weights, spec = output_folder(tmp_path)
    sentences, labels, framing = dev_set(tmp_path, spec, weights)
    labels[:20] = (labels[:20] + 1) % 3
    result = quantize_student(tmp_path / "small.onnx", weights, spec, sentences, labels, framing,
                              max_accuracy_drop=1.0)
    assert result.path == tmp_path / "small.onnx"
    assert result.float_layers == ()
    assert result.metric_before == 0.9
    assert abs(result.metric_after - 0.9) <= 1 - result.agreement < 0.1
    assert (tmp_path / "small.onnx").stat().st_size < (tmp_path / "model.onnx").stat().st_size
    onnx.checker.check_model(onnx.load(str(result.path)))


def test_layers_stay_in_float_where_int8_costs_too_much(tmp_path, caplog):
    """A hidden layer with one huge weight a column loses all the others to rounding; the rest doesn't."""
    weights, spec = output_folder(tmp_path, hidden_size=16)
    break_hidden_layer(weights)
    sentences, labels, framing = dev_set(tmp_path, spec, weights)
    broken = quantize_student(tmp_path / "a.onnx", weights, spec, sentences, labels, framing, 1.0)
    assert broken.metric_after < 0.9
    with caplog.at_level(logging.WARNING):
        kept = quantize_student(tmp_path / "b.onnx", weights, spec, sentences, labels, framing, 0.05)
    assert kept.float_layers == ("hidden",)
    assert kept.metric_after >= 0.95
    assert "hidden stay in float" in caplog.text


def test_a_metric_that_is_no_number_guards_nothing_but_ends(tmp_path, monkeypatch):
    weights, spec = output_folder(tmp_path)
    sentences, labels, framing = dev_set(tmp_path, spec, weights)
    monkeypatch.setattr(type(spec.task), "score", lambda *_: float("nan"))
    result = quantize_student(tmp_path / "a.onnx", weights, spec, sentences, labels, framing, units_per_byte=2)
    assert set(result.float_layers) == set(int8_layers(spec)) and result.agreement == 1


def test_the_guard_watches_the_metric_that_is_named(tmp_path):
    """Rounding loses a class of four sentences among many: accuracy hardly notices, macro-F1 does."""
    weights, spec = output_folder(tmp_path, hidden_size=16)
    break_hidden_layer(weights)
    sentences, labels, framing = dev_set(tmp_path, spec, weights, count=600)
    quantize_student(tmp_path / "a.onnx", weights, spec, sentences, labels, framing, 1.0)
    logits = sentence_logits(onnx_logits(tmp_path / "a.onnx"), [one.tolist() for one in sentences], framing, 32, 32)
    right = logits.argmax(axis=1) == labels
    rare = labels[~right][0]
    chosen = np.concatenate([np.flatnonzero(~right & (labels == rare))[:4], np.flatnonzero(right & (labels != rare))])
    dev = sentences.take(chosen), labels[chosen], framing
    allowed = 0.1
    assert 4 / len(chosen) < allowed
    assert quantize_student(tmp_path / "b.onnx", weights, spec, *dev, allowed, "accuracy").float_layers == ()
    kept = quantize_student(tmp_path / "c.onnx", weights, spec, *dev, allowed, "macro_f1")
    assert "hidden" in kept.float_layers and kept.metric_after >= kept.metric_before - allowed


def test_the_guard_gives_back_layers_that_need_not_be_float(tmp_path):
    """The embedding alone is what rounding breaks; it is the last to go back, the others return to int8."""
    weights, spec = output_folder(tmp_path, embed_dim=40, rows=400)
    weights["embedding"] = weights["embedding"].copy()
    weights["embedding"][:, 0] = 1e4  # a column the LSTM doesn't read
    for direction in ("forward", "backward"):
        weights[f"lstm.0.{direction}.weight_ih"] = weights[f"lstm.0.{direction}.weight_ih"].copy()
        weights[f"lstm.0.{direction}.weight_ih"][:, 0] = 0
    sentences, labels, framing = dev_set(tmp_path, spec, weights)
    result = quantize_student(tmp_path / "a.onnx", weights, spec, sentences, labels, framing, 0.03)
    assert result.metric_after >= 0.97
    assert set(result.float_layers) == {"embedding", "lstm.0"}  # rounding its inputs is as bad for the LSTM
