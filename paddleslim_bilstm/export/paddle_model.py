"""The student as a Paddle inference model that stands in for its teacher."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from typing import Iterator

import numpy as np
import paddle

from ..old_programs import old_programs
from ..scopes import own_scope
from ..student.graph import Int8Array, Weights
from ..student.network import TOKEN_MAP, StudentNetwork, logits_of_feeds, read_weights, student_feeds, write_weights
from ..student.spec import MODEL_NAME, StudentSpec
from .inference_file import save_inference_model

EMBEDDING_SCALE = "embedding_scale"  # the parameter that holds an int8 embedding's


def export_paddle_model(folder: Path, spec: StudentSpec, weights: Weights) -> Path:
    """Write ``model.pdmodel`` and ``model.pdiparams`` into ``folder`` and return their common prefix.

    The model takes ``spec.feeds``, those of the BERT that it replaces, ``[batch, length]`` as a tokenizer pads them (a
    student of words ``word_ids`` ``[batch, length]`` and ``lengths`` ``[batch]``), and returns logits, float32
    ``[batch, classes]``. It is saved through the static-graph API.

    Args:
        weights: the student's; the embedding may be an `Int8Array`, which is stored as it is (Paddle has no int8 LSTM
            on the CPU, so the other weights are float).
    """
    prefix = Path(folder) / MODEL_NAME
    with _built(spec, weights) as (executor, program, feeds, logits):
        save_inference_model(prefix, feeds, [logits], executor, program)
    return prefix


def student_logits(spec: StudentSpec, weights: Weights, *batch: np.ndarray) -> np.ndarray:
    """Return what the student answers before it is exported, float32 ``[batch, classes]``.

    Args:
        weights: as for `export_paddle_model`.
        batch: an array a feed, in the order of ``spec.feeds``.
    """
    with _built(spec, weights) as (executor, program, feeds, logits):
        feed = {one.name: array for one, array in zip(feeds, batch)}
        return executor.run(program, feed=feed, fetch_list=[logits])[0]


@contextmanager
def _built(spec: StudentSpec, weights: Weights) -> Iterator[tuple]:
    """Yield executor, program, feeds and logits of the drop-in student; its weights are in the current scope."""
    place = paddle.CPUPlace()
    with old_programs(), own_scope(), paddle.utils.unique_name.guard(), \
            paddle.static.program_guard(paddle.static.Program(), paddle.static.Program()):
        executor, program = paddle.static.Executor(place), paddle.static.default_main_program()
        feeds = student_feeds(spec)
        embedding = weights["embedding"]
        network = StudentNetwork(spec, rows=1 if isinstance(embedding, Int8Array) else len(embedding))
        names = network.weight_names()
        if not spec.reads_words:
            names[TOKEN_MAP] = TOKEN_MAP
        if isinstance(embedding, Int8Array):
            del names["embedding"]
            network.embedder = _Int8Embedding(embedding, place)
        logits = logits_of_feeds(network, spec, len(weights[TOKEN_MAP]), feeds)
        write_weights(paddle.static.global_scope(), names, weights, place)
        yield executor, program, feeds, logits


class _Int8Embedding(paddle.nn.Layer):
    """An embedding whose table is int8 with a scale a row; rows become float after they are looked up.

    The operators are those that ``paddleslim.quant.quant_embedding`` writes, but for its one scale for all rows.
    """

    def __init__(self, embedding: Int8Array, place):
        super().__init__()
        self._units = embedding.values.shape[1]
        self._table = self._store("embedding_int8", embedding.values, place)
        self._row_scale = self._store(EMBEDDING_SCALE, embedding.scale, place)
        self._one = self._store("embedding_one", np.ones(1, np.float32), place)

    @staticmethod
    def _store(name: str, value: np.ndarray, place):
        paddle.static.global_scope().var(name).get_tensor().set(value, place)
        return paddle.static.default_main_program().global_block().create_var(
            name=name, shape=list(value.shape), dtype=str(value.dtype), persistable=True, stop_gradient=True)

    def forward(self, rows):
        looked_up = paddle.nn.functional.embedding(rows, self._table)
        block = paddle.static.default_main_program().global_block()
        as_float = block.create_var(name="embedding_as_float", dtype="float32", shape=[-1, -1, self._units])
        block.append_op(type="dequantize_abs_max", inputs={"X": [looked_up], "Scale": [self._one]},
                        outputs={"Out": [as_float]}, attrs={"max_range": 1.0})
        as_float.desc.set_dtype(paddle.base.core.VarDesc.VarType.FP32)  # Paddle 3 takes the input's
        return as_float * paddle.nn.functional.embedding(rows, self._row_scale)


@old_programs()
def read_paddle_model(prefix: Path, spec: StudentSpec) -> Weights:
    """Read the weights back from a student's inference model, as PaddleSlim left it.

    Weights that are stored as int8 (by ``QuantAware``) are given as the float values that they stand for.
    """
    executor = paddle.static.Executor(paddle.CPUPlace())
    with own_scope():
        program, _, _ = paddle.static.load_inference_model(str(prefix), executor)
        scope = paddle.static.global_scope()
        names = parameter_names(spec)
        weights = read_weights(scope, names if spec.reads_words else {**names, TOKEN_MAP: TOKEN_MAP})
        for name, parameter in names.items():
            if weights[name].dtype == np.int8:
                weights[name] = _dequantized(program, scope, parameter, weights[name])
    if spec.reads_words:
        weights[TOKEN_MAP] = np.arange(len(weights["embedding"]), dtype=np.int32)
    return weights


@old_programs()
def parameter_names(spec: StudentSpec) -> dict[str, str]:
    """Return the names that the weights have in an exported student, by the weights' own names."""
    with paddle.static.program_guard(paddle.static.Program(), paddle.static.Program()), \
            paddle.utils.unique_name.guard():
        return StudentNetwork(spec, rows=1).weight_names()


def _dequantized(program, scope, parameter: str, values: np.ndarray) -> np.ndarray:
    operator = next(op for op in program.global_block().ops
                    if op.type == "dequantize_linear" and op.input("X") == [parameter])
    scale = np.array(scope.find_var(operator.input("Scale")[0]).get_tensor())
    shape = [1] * values.ndim
    if operator.attr("quant_axis") >= 0:
        shape[operator.attr("quant_axis")] = -1
    largest = 2 ** (operator.attr("bit_length") - 1) - 1
    return (values * (scale.reshape(shape) / largest)).astype(np.float32)
