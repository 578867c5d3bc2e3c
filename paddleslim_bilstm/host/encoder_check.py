"""An encoder of the user's own is tried on a tiny vocabulary before any work."""

from __future__ import annotations

import inspect

import numpy as np
import paddle

from ..config import Config
from ..errors import UserError, line_of
from ..export.onnx_model import build_onnx, difference, probe
from ..export.paddle_model import student_logits
from ..old_programs import old_programs
from ..predict.runtimes import onnx_logits
from ..scopes import own_scope
from ..student.encoders import Encoder, encoder_named, is_ours
from ..student.network import TOKEN_MAP, StudentNetwork
from ..student.program import TrainingProgram
from ..student.spec import StudentSpec
from ..student.train import TrainingPlan, TrainingSet
from ..student.weights import Weights, first_weights
from ..tokens import Sentences
from .chain import reason_of

_TOKENS = 12
_SENTENCES = Sentences.from_lists([[5, 6, 7], [8, 9], [5], [9, 8, 7, 6]])
_LABELS = np.array([0, 1, 0, 1])


@old_programs()
def check_encoder(settings: Config) -> None:
    """Train a student with an encoder of the user's own for a step, and hold what ONNX answers against Paddle's.

    Raises:
        UserError: the encoder fails, or its parts contradict each other; the message names its line.
    """
    sizes = settings.distill.student
    encoder = encoder_named(sizes.encoder)
    if is_ours(type(encoder)):
        return
    spec = StudentSpec(sizes.embed_dim, sizes.hidden_size, sizes.num_layers, ("a", "b"), 0,
                       settings.global_.max_seq_length, pooling=sizes.pooling, encoder=sizes.encoder)
    try:
        first = first_weights(spec, np.arange(_TOKENS, dtype=np.int32), None, np.random.default_rng(0))
        _check_parts(encoder, spec, first)
        _check_onnx(spec, _trained(spec, first, sizes.dropout))
    except (OSError, MemoryError):
        raise
    except Exception as error:  # somebody's own code: anything can come out
        raise UserError(f"bert_to_bilstm.student.encoder: {sizes.encoder} can't be used: {_line_of(error, encoder)}"
                        f"{reason_of(error)}; mend it, or take another one") from error


def _line_of(error: Exception, encoder: Encoder) -> str:
    """Return "FILE:LINE: " of what the encoder's file did last before ``error``, or "FILE: " where it did nothing."""
    method = next((value for value in vars(type(encoder)).values() if inspect.isfunction(value)), None)
    return "" if method is None else line_of(error, method) or f"{method.__code__.co_filename}: "


def _check_parts(encoder: Encoder, spec: StudentSpec, first: Weights) -> None:
    for name, shape in encoder.shapes(spec).items():
        if first[name].shape != tuple(shape):
            raise ValueError(f"draw() returns {list(first[name].shape)} for {name}, and shapes() says {list(shape)}")
        if not np.isfinite(first[name]).all():
            raise ValueError(f"draw() returns something else than finite numbers for {name}")
    with paddle.static.program_guard(paddle.static.Program(), paddle.static.Program()), \
            paddle.utils.unique_name.guard():
        network = StudentNetwork(spec, _TOKENS)
        shapes, names = encoder.shapes(spec), network.encoder.weight_names()
        if shapes.keys() != names.keys():
            raise ValueError(f"shapes() has {', '.join(shapes) or 'no weights'}, and weight_names() of its layer "
                             f"{', '.join(names) or 'none'}")
        rows, lengths = paddle.static.data("rows", [-1, -1], "int64"), paddle.static.data("lengths", [-1], "int32")
        units = network.features(rows, lengths).shape[-1]
        if units not in (-1, encoder.features(spec)):
            raise ValueError(f"its layer returns {units} numbers a sentence, and features() says "
                             f"{encoder.features(spec)}")


def _trained(spec: StudentSpec, first: Weights, dropout: float) -> Weights:
    plan = TrainingPlan(1, len(_LABELS), 0.0, dropout, 1, None, 0)
    with own_scope():
        run = TrainingProgram(spec, first, plan, None, lambda steps: (paddle.optimizer.Adam(0.01), None))
        run.step(TrainingSet(_SENTENCES, None, _LABELS), np.arange(len(_LABELS)), 0)
        return {**run.weights(), TOKEN_MAP: first[TOKEN_MAP]}


def _check_onnx(spec: StudentSpec, weights: Weights) -> None:
    model = build_onnx(weights, spec).SerializeToString()
    try:
        run = onnx_logits(model)
    except UserError as error:
        raise ValueError(f"ONNX Runtime can't run the nodes of add_nodes() ({error})") from None
    fault = difference(run, lambda *feeds: student_logits(spec, weights, *feeds), *probe(_TOKENS, spec))
    if fault:
        raise ValueError(f"with the nodes of add_nodes() {fault}")
