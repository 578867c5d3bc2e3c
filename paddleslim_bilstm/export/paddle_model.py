"""The student as a Paddle inference model that stands in for its teacher."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import paddle

from ..student.network import TOKEN_MAP, BiLSTMClassifier, drop_in_logits, read_weights, write_weights
from ..student.spec import StudentSpec
from ..student.weights import Weights

MODEL_NAME = "model"
_INT8_LARGEST = 127


def export_paddle_model(folder: Path, spec: StudentSpec, weights: Weights) -> Path:
    """Write ``model.pdmodel`` and ``model.pdiparams`` into ``folder`` and return their common prefix.

    The model takes ``input_ids`` and ``token_type_ids``, int64 ``[batch, length]`` as a BERT tokenizer pads them, and
    returns logits, float32 ``[batch, classes]``. It is saved through the static-graph API.
    """
    place = paddle.CPUPlace()
    executor = paddle.static.Executor(place)
    prefix = Path(folder) / MODEL_NAME
    program = paddle.static.Program()
    with paddle.static.scope_guard(paddle.static.Scope()), paddle.utils.unique_name.guard(), \
            paddle.static.program_guard(program, paddle.static.Program()):
        feeds = [paddle.static.data(name, [-1, -1], "int64") for name in ("input_ids", "token_type_ids")]
        network = BiLSTMClassifier(spec, len(weights["embedding"]))
        logits = drop_in_logits(network, spec, len(weights[TOKEN_MAP]), *feeds)
        scope = paddle.static.global_scope()
        names = {**network.weight_names(), TOKEN_MAP: TOKEN_MAP}
        write_weights(scope, names, weights, place)
        paddle.static.save_inference_model(str(prefix), feeds, [logits], executor, program=program)
    return prefix


def read_paddle_model(prefix: Path, spec: StudentSpec) -> Weights:
    """Read the weights back from a student's inference model, as PaddleSlim left it.

    Weights that are stored as int8 (by ``QuantAware``) are given as the float values that they stand for.
    """
    executor = paddle.static.Executor(paddle.CPUPlace())
    with paddle.static.scope_guard(paddle.static.Scope()):
        program, _, _ = paddle.static.load_inference_model(str(prefix), executor)
        scope = paddle.static.global_scope()
        names = parameter_names(spec)
        weights = read_weights(scope, {**names, TOKEN_MAP: TOKEN_MAP})
        for name, parameter in names.items():
            if weights[name].dtype == np.int8:
                weights[name] = _dequantized(program, scope, parameter, weights[name])
    return weights


def parameter_names(spec: StudentSpec) -> dict[str, str]:
    """Return the names that the weights have in an exported student, by the weights' own names."""
    with paddle.static.program_guard(paddle.static.Program(), paddle.static.Program()), \
            paddle.utils.unique_name.guard():
        return BiLSTMClassifier(spec, rows=1).weight_names()


def _dequantized(program, scope, parameter: str, values: np.ndarray) -> np.ndarray:
    operator = next(op for op in program.global_block().ops
                    if op.type == "dequantize_linear" and op.input("X") == [parameter])
    scale = np.array(scope.find_var(operator.input("Scale")[0]).get_tensor())
    shape = [1] * values.ndim
    if operator.attr("quant_axis") >= 0:
        shape[operator.attr("quant_axis")] = -1
    return (values * (scale.reshape(shape) / _INT8_LARGEST)).astype(np.float32)
