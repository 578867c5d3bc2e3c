"""The student as a Paddle inference model that stands in for its teacher."""

from __future__ import annotations

from pathlib import Path

import paddle

from ..student.network import TOKEN_MAP, BiLSTMClassifier, drop_in_logits, write_weights
from ..student.spec import StudentSpec
from ..student.weights import Weights

MODEL_NAME = "model"


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
