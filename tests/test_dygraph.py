"""`BiLSTMClassifier`: the student as an ordinary layer, with PaddleSlim's and Paddle's own trainers around it."""

from dataclasses import replace

import numpy as np
import paddle
import pytest
from student_reference import output_folder, random_student, random_texts

from paddleslim_bilstm import BiLSTMClassifier, Predictor
from paddleslim_bilstm.errors import UserError
from paddleslim_bilstm.export.onnx_model import probe
from paddleslim_bilstm.export.paddle_model import student_logits
from paddleslim_bilstm.old_programs import HAS_NEW_PROGRAMS
from paddleslim_bilstm.predict.runtimes import paddle_logits
from paddleslim_bilstm.student.spec import StudentSpec
from paddleslim_bilstm.tokens import BERT_FEEDS, Feed
from paddleslim_bilstm.tokens.framing import ZEROS

MASKED = (Feed("x0", "ids"), Feed("x1", "mask"), Feed("x2", "types"))


@pytest.fixture(autouse=True)
def dygraph():
    paddle.disable_static()
    yield
    paddle.enable_static()


def call(student, spec, batch):
    names = {"ids": "input_ids", "types": "token_type_ids", "mask": "attention_mask"}
    return student(**{names[feed.role]: paddle.to_tensor(array) for feed, array in zip(spec.feeds, batch)})


def static_logits(spec, weights, batch):
    paddle.enable_static()
    try:
        return student_logits(spec, weights, *batch)
    finally:
        paddle.disable_static()


@pytest.mark.parametrize("pairs, matches", [(False, False), (True, False), (True, True)])
@pytest.mark.parametrize("feeds", [BERT_FEEDS, MASKED])
@pytest.mark.parametrize("sizes", [{}, {"num_layers": 2, "pooling": "last"}])
def test_it_answers_as_the_static_student(pairs, matches, feeds, sizes):
    weights, spec = random_student(pairs=pairs, matches=matches, **sizes)
    spec = replace(spec, feeds=feeds)
    student = BiLSTMClassifier(spec, weights["token_map"], weights=weights)
    student.eval()
    batch = probe(80, spec)
    np.testing.assert_allclose(call(student, spec, batch).numpy(), static_logits(spec, weights, batch), atol=1e-6)
    for name, value in student.weights().items():
        np.testing.assert_array_equal(value, weights[name])


def test_a_finished_student_is_loaded_trained_on_and_written_again(tmp_path):
    (tmp_path / "old").mkdir()
    output_folder(tmp_path / "old", classes=2)
    student, texts = BiLSTMClassifier.from_pretrained(tmp_path / "old", dropout=0.1), random_texts(12)
    ids = paddle.to_tensor(probe(18, student.spec)[0][:16])
    optimizer = paddle.optimizer.Adam(0.05, parameters=student.parameters())
    for _ in range(3):
        paddle.nn.functional.cross_entropy(student(ids), paddle.to_tensor([0, 1] * 8)).backward()
        optimizer.step()
        optimizer.clear_grad()
    student.save_pretrained(tmp_path / "new")
    assert paddle.in_dynamic_mode() and student.training
    student.eval()
    old, new, in_paddle = (Predictor(tmp_path / folder, runtime).logits(texts)
                           for folder, runtime in (("old", "onnx"), ("new", "onnx"), ("new", "paddle")))
    assert np.abs(new - old).max() > 0.1
    np.testing.assert_allclose(new, in_paddle, atol=1e-5)
    again = BiLSTMClassifier.from_pretrained(tmp_path / "new")
    again.eval()
    np.testing.assert_allclose(again(ids).numpy(), student(ids).numpy(), atol=1e-6)
    (tmp_path / "old" / "model.int8.onnx").write_text("of the old weights")
    student.save_pretrained(tmp_path / "old")
    np.testing.assert_array_equal(Predictor(tmp_path / "old").logits(texts), new)


def learnable(rows=64):
    """Ids of which those above 40 say class 1, and the answers of a teacher that knows."""
    rng = np.random.default_rng(0)
    ids = np.full((rows, 10), 0)
    ids[:, 0], ids[:, 9], ids[:, 1:9] = 2, 3, rng.integers(5, 80, (rows, 8))
    truth = (ids[:, 1:9] > 40).mean(axis=1) > 0.5
    return ids, np.where(truth[:, None], [-2.0, 2.0], [2.0, -2.0]).astype(np.float32), truth.astype(np.int64)


SPEC = StudentSpec(12, 16, 1, ("neg", "pos"), pad_id=0, max_seq_length=32)


def fresh():
    return BiLSTMClassifier(SPEC, np.arange(80), rng=np.random.default_rng(0))


@pytest.mark.parametrize("pair", [["student_0", "teacher_0"], ["teacher_0", "student_0"]])
def test_paddleslims_distill_trains_it_with_logit_mse(pair):
    """The gradient reaches the student whichever of the pair comes first."""
    from paddleslim.dygraph.dist import Distill
    ids, logits, truth = learnable()

    class Teacher(paddle.nn.Layer):
        def __init__(self):
            super().__init__()
            self.head = paddle.nn.Linear(2, 2)
            self.head.weight.set_value(np.eye(2, dtype=np.float32))

        def forward(self, ids):
            return self.head(paddle.to_tensor(logits))

    student, teacher = fresh(), Teacher()
    names = ["network.output_layer", "head"]
    layers = names if pair[0] == "student_0" else names[::-1]
    distilling = Distill([{"loss_function": "logit_mse", "model_name_pairs": [list(pair)],
                           "layers": [{"layers_name": layers}]}], [student], [teacher],
                         convert_fn=False)  # which PaddleSlim allows once in a process
    optimizer = paddle.optimizer.Adam(0.02, parameters=student.parameters())
    losses = []
    for _ in range(12):
        loss = distilling(paddle.to_tensor(ids))[0]
        losses.append(float(loss))
        loss.backward()
        optimizer.step()
        optimizer.clear_grad()
    assert losses[-1] < 0.5 * losses[0]


def test_paddles_model_fits_it():
    ids, _, truth = learnable()
    model = paddle.Model(fresh(), inputs=[paddle.static.InputSpec([None, None], "int64", "input_ids")])
    model.prepare(paddle.optimizer.Adam(0.02, parameters=model.parameters()), paddle.nn.CrossEntropyLoss(),
                  paddle.metric.Accuracy())
    data = paddle.io.TensorDataset([paddle.to_tensor(ids), paddle.to_tensor(truth[:, None])])
    model.fit(data, batch_size=16, epochs=8, verbose=0)
    assert model.evaluate(data, batch_size=16, verbose=0)["acc"] > 0.9


def test_quantization_aware_training_and_calibration_take_it(tmp_path):
    from paddle.quantization import PTQ, QAT, QuantConfig
    from paddle.quantization.observers import AbsmaxObserver
    from paddle.quantization.quanters import FakeQuanterWithAbsMaxObserver
    ids, _, truth = learnable()
    quanter = FakeQuanterWithAbsMaxObserver(moving_rate=0.9)
    config = QuantConfig(activation=None, weight=None)
    config.add_type_config(paddle.nn.Linear, activation=quanter, weight=quanter)
    quantized = QAT(config).quantize(fresh())
    optimizer = paddle.optimizer.Adam(0.02, parameters=quantized.parameters())
    for _ in range(20):
        loss = paddle.nn.functional.cross_entropy(quantized(paddle.to_tensor(ids)), paddle.to_tensor(truth))
        loss.backward()
        optimizer.step()
        optimizer.clear_grad()
    assert float(loss) < 0.3
    config = QuantConfig(activation=None, weight=None)
    config.add_type_config(paddle.nn.Linear, activation=AbsmaxObserver(), weight=AbsmaxObserver())
    ptq = PTQ(config)
    student = fresh()
    student.eval()
    observed = ptq.quantize(student)
    expected = observed(paddle.to_tensor(ids)).numpy()
    found = ptq.convert(observed)(paddle.to_tensor(ids)).numpy()
    assert 0 < np.abs(found - expected).max() < 0.1


def test_it_is_exported_by_paddles_own_jit(tmp_path):
    ids, _, _ = learnable()
    student = fresh()
    student.eval()
    expected = student(paddle.to_tensor(ids)).numpy()
    feeds = [paddle.static.InputSpec([None, None], "int64", name) for name in ("input_ids", "token_type_ids")]
    paddle.jit.save(paddle.jit.to_static(student, input_spec=feeds), str(tmp_path / "model"))
    exported = paddle.jit.load(str(tmp_path / "model"))  # a .pdmodel or, on Paddle 3, a .json
    np.testing.assert_allclose(exported(paddle.to_tensor(ids), paddle.to_tensor(ids * 0)).numpy(), expected, atol=1e-6)


@pytest.mark.parametrize("feeds, pairs", [(BERT_FEEDS, False), (MASKED, True), (MASKED[:2], False)])
def test_it_is_written_in_the_format_of_the_installed_paddle(tmp_path, feeds, pairs):
    weights, spec = random_student(pairs=pairs, matches=pairs)
    spec = replace(spec, feeds=tuple(feeds))
    student = BiLSTMClassifier(spec, weights["token_map"], weights=weights)
    student.save_for_paddle(tmp_path / "serving" / "model")
    assert student.training
    assert (tmp_path / "serving" / ("model.json" if HAS_NEW_PROGRAMS else "model.pdmodel")).is_file()
    batch = probe(80, spec)
    written = paddle_logits(tmp_path / "serving" / "model")
    np.testing.assert_allclose(written(*batch), static_logits(spec, weights, batch), atol=1e-5)


@pytest.mark.parametrize("feeds", [BERT_FEEDS[:1], (BERT_FEEDS[0], BERT_FEEDS[1]._replace(role=ZEROS))])
def test_types_that_mean_nothing_are_not_read(feeds):
    weights, spec = random_student(pairs=True, pad_id=1)
    spec = replace(spec, feeds=feeds, sep_id=2, separators=2)
    student = BiLSTMClassifier(spec, weights["token_map"], weights=weights)
    student.eval()
    ids = paddle.to_tensor([[0, 5, 6, 2, 2, 7, 2], [0, 8, 2, 2, 9, 10, 2]])
    expected = student(ids).numpy()
    np.testing.assert_array_equal(student(ids, token_type_ids=paddle.zeros_like(ids)).numpy(), expected)
    swapped = paddle.to_tensor([[0, 7, 2, 2, 5, 6, 2], [0, 9, 10, 2, 2, 8, 2]])
    assert np.abs(student(swapped).numpy() - expected).max() > 1e-4  # both sides are read


def test_what_is_missing_is_named():
    weights, spec = random_student(pairs=True)
    student = BiLSTMClassifier(spec, weights["token_map"], weights=weights)
    with pytest.raises(UserError, match="token_type_ids is missing.*pairs"):
        student(paddle.to_tensor(probe(80, spec)[0]))
    paddle.enable_static()
    with pytest.raises(UserError, match="static mode"):
        BiLSTMClassifier(spec, weights["token_map"])


@pytest.mark.parametrize("sizes", [{"encoder": "bigru"}, {"pooling": "attention"}])
def test_other_kinds_of_student_are_loaded_as_what_they_are(tmp_path, sizes):
    _, spec = output_folder(tmp_path, classes=2, **sizes)
    student, texts = BiLSTMClassifier.from_pretrained(tmp_path), random_texts(12)
    assert student.spec == spec
    student.eval()
    student.save_pretrained(tmp_path / "again")
    old, new = (Predictor(folder, "onnx").logits(texts) for folder in (tmp_path, tmp_path / "again"))
    np.testing.assert_allclose(new, old, atol=1e-5)
