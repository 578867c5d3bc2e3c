"""A run publishes only what answers as its student was trained to."""

import numpy as np
import onnx
import paddle
import pytest
from onnx import numpy_helper

from paddleslim_bilstm.errors import UserError
from paddleslim_bilstm.export.int8 import round_layers
from paddleslim_bilstm.export.onnx_model import write_onnx
from paddleslim_bilstm.export.paddle_model import export_paddle_model
from paddleslim_bilstm.models import PaddleModel, verify
from paddleslim_bilstm.report.measure import DISTILLED, DevSet
from paddleslim_bilstm.student.spec import StudentSpec
from paddleslim_bilstm.student.weights import first_weights, save_student
from paddleslim_bilstm.tokens import Sentences, Tokenizer

SPEC = StudentSpec(12, 8, 1, ("neg", "pos"), pad_id=0, max_seq_length=32)
TOKENIZER = Tokenizer(None, [str(i) for i in range(40)], pad_id=0, unk_id=1, cls_id=2, sep_id=3, mask_id=None)


@pytest.fixture
def output(tmp_path):
    """A student's step and final folder as a run has them at its end, and the arguments of ``verify``."""
    paddle.enable_static()
    rng = np.random.default_rng(0)
    weights = first_weights(SPEC, np.arange(40, dtype=np.int32), None, rng)
    sentences = Sentences.from_lists([rng.integers(5, 40, length).tolist() for length in (9, 1, 4, 25, 2)])
    step, final = tmp_path / "step", tmp_path / "final"
    for folder in (step, final):
        folder.mkdir()
        export_paddle_model(folder, SPEC, weights)
    write_onnx(final / "model.onnx", weights, SPEC)
    save_student(final, weights, SPEC)
    dev_set = DevSet(sentences, None, None, 2, TOKENIZER.framing)
    return step, final, weights, lambda model: verify([model], final, SPEC, weights, dev_set)


def test_a_sound_output_passes(output):
    step, _, weights, check = output
    check(PaddleModel(DISTILLED, step, weights))
    check(PaddleModel("UnstructurePrune", step))
    check(PaddleModel("QuantPost", step))


def test_an_int8_embedding_is_held_against_its_own_weights(output):
    step, final, weights, check = output
    rounded = round_layers(weights, SPEC, ["embedding"])
    for folder in (step, final):
        export_paddle_model(folder, SPEC, rounded)
    check(PaddleModel("QuantBiLSTM, Paddle", step, rounded))
    with pytest.raises(UserError, match="answers dev sentences other than the trained student does"):
        check(PaddleModel("QuantBiLSTM, Paddle", step, weights))


def test_other_weights_than_trained_are_refused(output):
    step, final, weights, check = output
    weights = {**weights, "output.bias": weights["output.bias"] + 0.01}
    for folder in (step, final):
        export_paddle_model(folder, SPEC, weights)
    with pytest.raises(UserError, match="other than .* by 0.01, so nothing is published"):
        check(PaddleModel(DISTILLED, step, output[2]))


@pytest.mark.parametrize("name, message", [
    ("model.pdiparams", "model.pdiparams: is cut"), ("model.pdmodel", "can't be run")])
def test_a_cut_paddle_model_is_refused(output, name, message):
    step, final, weights, check = output
    for folder in (step, final):
        (folder / name).write_bytes((step / name).read_bytes()[:-40])
    with pytest.raises(UserError, match=message):
        check(PaddleModel(DISTILLED, step, weights))


def test_what_was_not_copied_whole_is_refused(output):
    step, final, weights, check = output
    (final / "model.pdiparams").write_bytes((step / "model.pdiparams").read_bytes()[:-1])
    with pytest.raises(UserError, match="model.pdiparams: is not what was copied there"):
        check(PaddleModel(DISTILLED, step, weights))


def test_an_onnx_file_that_answers_otherwise_is_refused(output):
    step, final, weights, check = output
    model = onnx.load(str(final / "model.onnx"))
    embedding = next(one for one in model.graph.initializer if one.name == "embedding")
    embedding.CopyFrom(numpy_helper.from_array(2 * numpy_helper.to_array(embedding), "embedding"))
    onnx.save(model, str(final / "model.onnx"))
    with pytest.raises(UserError, match="model.onnx: answers dev sentences other than"):
        check(PaddleModel(DISTILLED, step, weights))
    onnx.save(model, str(final / "model.int8.onnx"))
    (final / "model.onnx").unlink()
    check(PaddleModel(DISTILLED, step, weights))  # the int8 model need only answer
    (final / "model.int8.onnx").write_bytes(b"cut")
    with pytest.raises(UserError, match="model.int8.onnx: can't be run"):
        check(PaddleModel(DISTILLED, step, weights))


def test_a_student_file_with_other_weights_is_refused(output):
    step, final, weights, check = output
    save_student(final, {**weights, "output.bias": np.nextafter(weights["output.bias"], np.float32(1))}, SPEC)
    with pytest.raises(UserError, match="student.safetensors: does not hold the trained weights"):
        check(PaddleModel(DISTILLED, step, weights))
