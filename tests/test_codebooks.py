"""The embedding of a byte for several units: its codes, its ONNX graph, and when it is used."""

from __future__ import annotations

import json
import logging
import shutil

import numpy as np
import onnx
import pytest
from student_reference import break_hidden_layer, dev_set, output_folder, random_student

from paddleslim_bilstm import compress, models
from paddleslim_bilstm.export.codebooks import find_vectors, recode
from paddleslim_bilstm.export.int8 import quantize_student, round_layers, table_to_codes
from paddleslim_bilstm.export.onnx_model import build_onnx, probe
from paddleslim_bilstm.predict.runtimes import onnx_logits
from paddleslim_bilstm.student.graph import MATCH, CodedArray
from paddleslim_bilstm.tokens import load_tokenizer


def table_of(rows=2000, units=64):
    """Rows that lie near a plane, as embeddings that were projected do."""
    rng = np.random.default_rng(0)
    return (rng.normal(size=(rows, 8)) @ rng.normal(size=(8, units)) + rng.normal(size=(rows, units)) / 10).astype(
        np.float32)


def error(table, coded, rows=slice(None)):
    return float(np.square(coded.to_float() - table)[rows].sum() / np.square(table)[rows].sum())


def test_the_fewer_units_share_a_byte_the_closer_the_rows_are():
    table, weights = table_of(), np.ones(2000)
    coded = {units: table_to_codes(table, units, weights) for units in (2, 3, 4, 8)}
    errors = [error(table, one) for one in coded.values()]
    assert errors == sorted(errors) and 0 < errors[0] < 0.01 and errors[-1] < 0.2
    for units, one in coded.items():
        assert one.codes.dtype == np.uint8 and one.codes.shape == (2000, -(-64 // units))
        assert one.vectors.values.dtype == np.int8 and one.vectors.values.shape == (one.codes.shape[1], 256, units)
        assert one.to_float().shape == table.shape and one.units == 64
    assert not coded[3].vectors.values[-1, :, 1:].any()  # 64 = 21 * 3 + 1


def test_the_nearest_vector_stands_for_a_part():
    table, size = table_of(600, 10), 4
    vectors = find_vectors(table, size, np.ones(600))
    parts = np.pad(table, ((0, 0), (0, 2))).reshape(600, 3, size)
    distances = np.square(parts[:, :, None] - vectors).sum(-1)
    np.testing.assert_array_equal(recode(table, vectors), distances.argmin(-1))
    np.testing.assert_array_equal(find_vectors(table, size, np.ones(600)), vectors)


def test_rows_that_are_read_often_are_closer():
    table, weights = table_of(), np.ones(2000)
    weights[:200] = 50
    even, uneven = (table_to_codes(table, 4, one) for one in (np.ones(2000), weights))
    assert error(table, uneven, slice(0, 200)) < 0.7 * error(table, even, slice(0, 200))


def test_few_different_parts_are_kept_and_all_vectors_of_a_group_may_be_one():
    table = np.repeat(table_of(200, 12), 20, axis=0)
    table[:, :4] = 1.5
    vectors = find_vectors(table, 4, np.ones(len(table)))
    found = vectors[np.arange(3), recode(table, vectors)].reshape(table.shape)
    np.testing.assert_array_equal(found, table)


def test_a_table_that_would_grow_stays_as_it_is():
    assert table_to_codes(table_of(300), 3, np.ones(300)) is None
    assert table_to_codes(table_of(3000), 1, np.ones(3000)) is None


def test_a_match_can_be_told_beside_small_embeddings():
    coded = table_to_codes(table_of() / 1000, 4, np.ones(2000), MATCH)
    assert coded.scale.item() * 127 == pytest.approx(MATCH)


SIZES = [{"embed_dim": 64}, {"embed_dim": 62, "num_layers": 2}, {"embed_dim": 33, "encoder": "bigru"},
         {"embed_dim": 30, "pairs": True, "matches": True}, {"embed_dim": 31, "pooling": "attention"}]


@pytest.mark.parametrize("sizes", SIZES)
@pytest.mark.parametrize("units, layers", [(2, None), (3, None), (3, ["embedding"]), (4, None)])
def test_the_graph_puts_the_rows_together(sizes, units, layers):
    weights, spec = random_student(rows=1200, vocab=1200, **sizes)
    reach = MATCH if spec.matches else 0.0
    coded = table_to_codes(weights["embedding"], units, np.ones(1200), reach)
    batch = probe(1200, spec)
    run = onnx_logits(build_onnx(round_layers(weights, spec, layers, coded), spec).SerializeToString())
    in_float = {**weights, "embedding": coded.to_float()}
    exact = onnx_logits(build_onnx(in_float, spec).SerializeToString())(*batch)
    found = run(*batch)
    np.testing.assert_allclose(found, exact, atol=1e-6 if layers else 0.08 * np.ptp(exact))
    for row in (0, 5, 127):
        used = int((batch[0][row] != spec.pad_id).sum())
        alone = run(*(feed[row:row + 1, :used] for feed in batch))[0]
        np.testing.assert_allclose(alone, found[row], atol=1e-6)


def student(folder, **sizes):
    """A student whose table is large enough to be coded, and texts of tokens that are spread over it."""
    weights, spec = output_folder(folder, rows=3000, embed_dim=64, **sizes)
    return weights, spec, *dev_set(folder, spec, weights)


def test_the_coded_student_is_smaller_and_answers_alike(tmp_path):
    weights, spec, sentences, labels, framing = student(tmp_path)
    counts = np.bincount(weights["token_map"][sentences.tokens], minlength=3000)
    results = [quantize_student(tmp_path / f"{units}.onnx", weights, spec, sentences, labels, framing, 0.05,
                                units_per_byte=units, row_counts=counts) for units in (1, 3, 4)]
    sizes = [one.path.stat().st_size for one in results]
    assert [one.units_per_byte for one in results] == [1, 3, 4] and sizes[0] > 1.8 * sizes[1] > 2 * sizes[2]
    assert all(one.float_layers == () and one.metric_after > 0.95 for one in results)


def test_fewer_units_share_a_byte_or_none_where_codes_cost_too_much(tmp_path, caplog):
    """Units that have nothing to do with one another, as random ones, are not told by an eighth of a byte each."""
    weights, spec, *_ = student(tmp_path)
    rng = np.random.default_rng(0)
    weights["embedding"] = rng.normal(size=weights["embedding"].shape).astype(np.float32)
    dev = dev_set(tmp_path, spec, weights)
    with caplog.at_level(logging.WARNING):
        result = quantize_student(tmp_path / "a.onnx", weights, spec, *dev, 0.005, units_per_byte=8)
    assert result.units_per_byte == 1 and result.float_layers == () and result.metric_after >= 0.995
    assert result.coding == "No units of the embedding share a byte: 8 would cost more than 0.005 accuracy."
    assert result.coding in caplog.text and len(caplog.records) == 1
    fewer = quantize_student(tmp_path / "b.onnx", weights, spec, *dev, 0.15, units_per_byte=8)
    assert 1 < fewer.units_per_byte < 8 and fewer.metric_after >= 0.85
    assert fewer.coding == f"{fewer.units_per_byte} units of the embedding share a byte: 8 would cost more than 0.15 " \
                           "accuracy."


def test_codes_stay_where_another_layer_is_what_costs(tmp_path):
    """A hidden layer that rounding breaks goes back to float, and the embedding is coded all the same."""
    weights, spec = output_folder(tmp_path, rows=3000, embed_dim=64, hidden_size=16)
    break_hidden_layer(weights)
    result = quantize_student(tmp_path / "a.onnx", weights, spec, *dev_set(tmp_path, spec, weights), 0.08,
                              units_per_byte=3)
    assert result.float_layers == ("hidden",) and result.units_per_byte > 1 and result.metric_after >= 0.92


def test_no_more_units_share_a_byte_than_there_are(tmp_path):
    weights, spec = output_folder(tmp_path, rows=3000, embed_dim=2)
    result = quantize_student(tmp_path / "a.onnx", weights, spec, *dev_set(tmp_path, spec, weights), 1.0,
                              units_per_byte=8)
    assert result.units_per_byte == 2


def test_a_pruned_embedding_keeps_its_zeros(tmp_path):
    weights, spec, *dev = student(tmp_path)
    keep = np.random.default_rng(0).random(weights["embedding"].shape) < 0.5
    weights["embedding"] = weights["embedding"] * keep.astype(np.float32)
    result = quantize_student(tmp_path / "a.onnx", weights, spec, *dev, 1.0, units_per_byte=3)
    assert result.units_per_byte == 1 and result.coding.endswith(": its zeros are to stay zero.")


def test_a_run_codes_the_embedding_and_says_so(tiny_teacher, review_files, tmp_path, monkeypatch):
    quantize, given = models.quantize_student, {}

    def keep_and_quantize(*args, **options):
        given.update(options)
        return quantize(*args, **options)

    monkeypatch.setattr(models, "quantize_student", keep_and_quantize)
    teacher, more = tmp_path / "teacher", 3000
    known = (tiny_teacher("huggingface") / "vocab.txt").read_text(encoding="utf-8").splitlines()
    shutil.copytree(tiny_teacher("huggingface", vocab_size=len(known) + more), teacher)
    (teacher / "vocab.txt").write_text("\n".join([*known, *(f"word{number}" for number in range(more))]) + "\n")
    config = {"Global": {"model_dir": str(teacher), "train_file": str(review_files / "train.tsv"),
                         "dev_file": str(review_files / "dev.tsv"), "save_dir": str(tmp_path / "out"),
                         "cache_dir": str(tmp_path / "cache"), "max_seq_length": 64},
              "bert_to_bilstm": {"train_alone": False, "student": {"embed_dim": 16, "hidden_size": 16}},
              "DataAugmentation": {"n_iter": 1}, "TrainConfig": {"epochs": 1},
              "QuantBiLSTM": {"max_accuracy_drop": 0.5}}
    folder = compress(config).save_dir
    model = onnx.load(str(folder / "model.int8.onnx"))
    codes, = (one for one in model.graph.initializer if one.name == "embedding.codes")
    rows, groups = codes.dims
    assert more <= rows <= more + len(known) and groups == 6  # of 16 units
    row = json.loads((folder / "report.json").read_text())["models"][-1]
    assert "3 units of the embedding share a byte." in row["notes"] and row["agreement"] > 0.9
    counts, tokenizer = given["row_counts"], load_tokenizer(folder)
    texts = [line.rsplit("\t", 1)[0] for line in (review_files / "train.tsv").read_text().splitlines()[1:]]
    assert len(counts) == rows and counts.max() > 100
    assert counts.sum() == len(tokenizer.encode(texts).truncate(62).tokens)
    coded = row["size_bytes"]
    again = compress(config, overrides=["QuantBiLSTM.units_per_byte=1"]).report.models[-1]
    assert again.size_bytes > coded and not any("share a byte" in note for note in again.notes)


def test_a_coded_array_is_what_its_codes_say():
    rng = np.random.default_rng(0)
    table = table_of(2000, 6)
    coded = table_to_codes(table, 2, np.ones(2000))
    assert isinstance(coded, CodedArray)
    row = rng.integers(2000)
    expected = np.concatenate([coded.vectors.values[group, coded.codes[row, group]] for group in range(3)])
    np.testing.assert_allclose(coded.to_float()[row], expected * coded.scale[0], rtol=1e-6)
