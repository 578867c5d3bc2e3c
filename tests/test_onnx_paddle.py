"""ONNX Runtime against Paddle: the same student, the same padded batch, the same logits."""

import numpy as np
import paddle
import pytest
from student_reference import output_folder, random_student, random_texts, reference_logits

from paddleslim_bilstm.export.int8 import round_layers
from paddleslim_bilstm.export.onnx_model import probe, write_onnx
from paddleslim_bilstm.export.paddle_model import export_paddle_model
from paddleslim_bilstm.predict import Predictor
from paddleslim_bilstm.predict.runtimes import onnx_logits, paddle_logits
from paddleslim_bilstm.student.network import StudentNetwork


@pytest.fixture(autouse=True)
def static_mode():
    paddle.enable_static()


def dygraph_logits(weights, spec, input_ids):
    paddle.disable_static()
    try:
        with paddle.utils.unique_name.guard():
            network = StudentNetwork(spec, len(weights["embedding"]))
        network.eval()
        parameters = {one.name: one for one in network.parameters()}
        for name, parameter in network.weight_names().items():
            parameters[parameter].set_value(weights[name])
        lengths = np.maximum((input_ids != spec.pad_id).sum(axis=1) - 2, 1).astype(np.int32)
        rows = weights["token_map"][input_ids[:, 1:]].astype(np.int64)
        return network(paddle.to_tensor(rows), paddle.to_tensor(lengths)).numpy()
    finally:
        paddle.enable_static()


@pytest.mark.parametrize("sizes", [{"num_layers": 1}, {"num_layers": 2, "pad_id": 3},
                                   {"num_layers": 1, "pooling": "last"}, {"pooling": "attention"},
                                   {"encoder": "bigru"}, {"encoder": "bigru", "num_layers": 2, "pooling": "attention"}])
def test_all_runtimes_agree_on_a_padded_batch_of_lengths_1_to_128(tmp_path, sizes):
    weights, spec = random_student(hidden_size=20, **sizes)
    paddle_run = paddle_logits(export_paddle_model(tmp_path, spec, weights))
    write_onnx(tmp_path / "model.onnx", weights, spec, reference=paddle_run)
    write_onnx(tmp_path / "model.int8.onnx", round_layers(weights, spec), spec)
    batch = probe(80, spec)[0]
    segments = np.zeros_like(batch)
    by_the_book = reference_logits(weights, spec, batch)
    np.testing.assert_allclose(paddle_run(batch, segments), by_the_book, atol=1e-5)
    np.testing.assert_allclose(dygraph_logits(weights, spec, batch), by_the_book, atol=1e-5)
    np.testing.assert_allclose(onnx_logits(tmp_path / "model.onnx")(batch, segments), by_the_book, atol=1e-5)
    np.testing.assert_allclose(onnx_logits(tmp_path / "model.int8.onnx")(batch, segments), by_the_book,
                               atol=0.1 * np.ptp(by_the_book))


def test_the_predictor_runs_paddle_inference_on_request(tmp_path):
    weights, spec = output_folder(tmp_path)
    export_paddle_model(tmp_path, spec, weights)
    texts = random_texts(20)
    paddle.disable_static()  # as in a process that only predicts
    try:
        predictor = Predictor(tmp_path, "paddle")
        assert predictor.runtime == "paddle"
        np.testing.assert_allclose(predictor.logits(texts), Predictor(tmp_path, "onnx").logits(texts), atol=1e-5)
    finally:
        paddle.enable_static()


def test_paddle_runs_an_int8_embedding(tmp_path):
    weights, spec = random_student(hidden_size=20)
    rounded = round_layers(weights, spec, ["embedding"])
    (tmp_path / "float").mkdir()
    float_model = export_paddle_model(tmp_path / "float", spec, weights)
    int8_model = export_paddle_model(tmp_path, spec, rounded)
    batch = probe(80, spec)[0]
    by_the_book = reference_logits({**weights, "embedding": rounded["embedding"].to_float()}, spec, batch)
    np.testing.assert_allclose(paddle_logits(int8_model)(batch, np.zeros_like(batch)), by_the_book, atol=1e-5)
    sizes = [path.with_suffix(".pdiparams").stat().st_size for path in (float_model, int8_model)]
    assert sizes[0] - sizes[1] > 0.7 * weights["embedding"].nbytes - 1000
