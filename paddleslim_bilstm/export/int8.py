"""``QuantBiLSTM``: the student with int8 layers, in ONNX Runtime and, as far as Paddle goes, in Paddle."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Iterable, Iterator

import numpy as np
import paddle

from ..old_programs import old_programs
from ..predict.runtimes import batch_logits, onnx_logits
from ..scopes import own_scope
from ..storage import whole_file
from ..student.encoders import encoder_named
from ..student.graph import CODES, LARGEST_ROUNDED, MATCH, CodedArray, Int8Array, Weights
from ..student.spec import MODEL_NAME, StudentSpec
from ..tokens import Reader, Sentences
from .codebooks import find_vectors, recode
from .inference_file import save_inference_model
from .onnx_model import build_onnx
from .paddle_model import EMBEDDING_SCALE, parameter_names

# CPUs without VNNI instructions add pairs of 8-bit products in 16 bits, where 255 * 127 * 2 is cut off.
# 255 * 64 * 2 isn't: 7 bits give every CPU the same answers.
_LARGEST_MULTIPLIED = 64
_CUTS = tuple(0.8 ** power for power in range(8))  # of the largest value


def int8_layers(spec: StudentSpec) -> dict[str, list[str]]:
    """Return the layers that can be int8, each with its arrays that become so (biases stay float).

    ``embedding``, those of the encoder (``lstm.0``, ...) and ``hidden``. The output layer isn't one of them: it is a
    few hundred weights, whose rounding falls on the logits directly.
    """
    encoder = {layer: list(arrays) for layer, arrays in encoder_named(spec.encoder).int8_arrays(spec).items()}
    return {"embedding": ["embedding"], **encoder, "hidden": ["hidden.weight"]}


def round_layers(weights: Weights, spec: StudentSpec, layers: Iterable[str] | None = None,
                 coded: CodedArray | None = None) -> Weights:
    """Return ``weights`` with the arrays of ``layers`` (all that can be) as int8.

    Each embedding row, gate unit or output has a scale of its own; all rows have one where the encoder rounds what it
    reads of them.

    Args:
        coded: stands in place of an int8 embedding.
    """
    rounded, arrays = dict(weights), int8_layers(spec)
    chosen = list(arrays if layers is None else layers)
    for layer in chosen:
        if layer != "embedding":
            for name in arrays[layer]:
                rounded[name] = to_int8(weights[name], 0 if layer == "hidden" else 1, _LARGEST_MULTIPLIED)
    if "embedding" in chosen and coded is not None:
        rounded["embedding"] = coded
    elif "embedding" in chosen:
        in_one, table = encoder_named(spec.encoder).rounds_inputs(rounded), weights["embedding"]
        rounded["embedding"] = table_to_int8(table, _reach(rounded, spec)) if in_one else to_int8(table)
    return rounded


def _reach(weights: Weights, spec: StudentSpec) -> float:
    """Return what the embedding's largest whole number has to stand for at least: a match rounded in its steps."""
    return MATCH if spec.matches and encoder_named(spec.encoder).rounds_inputs(weights) else 0.0


def table_to_codes(table: np.ndarray, units_per_byte: int, row_weights: np.ndarray,
                   reach: float = 0.0) -> CodedArray | None:
    """Code a table, see `find_vectors`; None where that takes no fewer bytes than an int8 table.

    Args:
        reach: as of `table_to_int8`.
    """
    rows, units = table.shape
    groups = -(-units // units_per_byte)
    if groups * (rows + CODES * units_per_byte) >= rows * units:
        return None
    vectors = find_vectors(table, units_per_byte, row_weights)
    rounded = table_to_int8(vectors.reshape(-1, units_per_byte), reach)
    vectors = Int8Array(rounded.values.reshape(vectors.shape), rounded.scale.reshape(1, 1, 1))
    return CodedArray(recode(table, vectors.to_float()), vectors, units)


def table_to_int8(table: np.ndarray, reach: float = 0.0) -> Int8Array:
    """Round all rows in steps of one size, the one with the least squared error: a few outliers may be cut off.

    Args:
        reach: what the largest whole number has to stand for at least.

    Returns:
        values of ``table``'s shape, scale ``[1, 1]``.
    """
    peak = float(np.abs(table).max())
    if not peak and not reach:
        return Int8Array(table.astype(np.int8), np.ones((1, 1), np.float32))
    steps = [max(peak * share, reach) / LARGEST_ROUNDED for share in _CUTS]

    def rounded(step: float) -> np.ndarray:
        return np.clip(np.rint(table / np.float32(step)), -LARGEST_ROUNDED, LARGEST_ROUNDED)

    best = min(steps, key=lambda step: float(np.square(rounded(step) * np.float32(step) - table).mean()))
    return Int8Array(rounded(best).astype(np.int8), np.full((1, 1), best, np.float32))


def to_int8(array: np.ndarray, axis: int = 1, largest: int = LARGEST_ROUNDED) -> Int8Array:
    """Round ``array`` to whole numbers within ``+-largest``, one scale for all values along ``axis``.

    Example: ``[[0, 0.5, -1]]``, axis 1 -> values ``[[0, 64, -127]]``, scale ``[[0.00787]]``.
    """
    peak = np.abs(array).max(axis=axis, keepdims=True)
    scale = np.where(peak > 0, peak / largest, 1).astype(np.float32)
    return Int8Array(np.rint(array / scale).astype(np.int8), scale)


_BATCH_SIZE = 32
_PRUNED = 0.05  # share of zeros; they are to stay zero
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class QuantizationResult:
    """What quantization did.

    Attributes:
        path: the int8 ONNX file.
        units_per_byte: of the embedding; 1: int8.
        coding: why, a sentence for the report; empty where 1 was wished.
        float_layers: layers that the accuracy guard kept in float; empty is best.
        metric_before, metric_after: of the float and the int8 student on the dev set.
        agreement: likeness of both models' answers: the share of equal classes, 0 to 1, or what the task has.
    """

    path: Path
    units_per_byte: int
    coding: str
    float_layers: tuple[str, ...]
    metric_before: float
    metric_after: float
    agreement: float


def quantize_student(path: str | Path, weights: Weights, spec: StudentSpec, sentences: Sentences, labels: np.ndarray,
                     reader: Reader, max_accuracy_drop: float = 0.005, metric: str = "accuracy",
                     units_per_byte: int = 1, row_counts: np.ndarray | None = None) -> QuantizationResult:
    """Write the student with int8 weights and rounded activations to ``path``.

    All of `int8_layers` become int8, the embedding with `table_to_codes` where that is smaller and few of its weights
    are zero. If that costs more of the metric than allowed, the embedding gets a byte a unit, and layers go back to
    float, those that save the fewest bytes first, until it doesn't; then layers that needn't have gone back are int8
    again, and as many units share a byte, ``units_per_byte`` or about half as many and so on, as the metric allows.

    Args:
        weights: the float student, as `student.weights.load_student` returns it; zeros stay zero, but those of an
            embedding that has less than 5 % of them.
        sentences, labels: the dev set, cut to what is served; such as class numbers, int ``[n]``.
        reader: feeds ``sentences`` to the student.
        max_accuracy_drop: how much of the metric may be lost, 0 to 1.
        metric: a name of the task's.
        units_per_byte: of the embedding, 1 to 8.
        row_counts: how often the student reads each embedding row, ``[rows]``; by its root a row's error counts.
    """
    task, table = spec.task, weights["embedding"]
    wished = min(units_per_byte, table.shape[1])
    row_weights = np.ones(len(table)) if row_counts is None else np.sqrt(1 + row_counts)
    pruned = (table == 0).mean() >= _PRUNED
    arrays = int8_layers(spec)

    @lru_cache(maxsize=None)
    def coded_by(units: int) -> CodedArray | None:
        if units == 1 or pruned:
            return None
        others = round_layers(weights, spec, [layer for layer in arrays if layer != "embedding"])
        return table_to_codes(table, units, row_weights, _reach(others, spec))

    def answers(model: bytes) -> np.ndarray:
        return task.answers_of(batch_logits(onnx_logits(model), sentences, reader, _BATCH_SIZE))

    float_answers = answers(build_onnx(weights, spec).SerializeToString())
    metric_before = task.score(metric, labels, float_answers, spec.num_classes)

    @lru_cache(maxsize=None)
    def attempt(float_layers: tuple[str, ...] = (), units: int = 1) -> _Attempt:
        rounded = [layer for layer in arrays if layer not in float_layers]
        model = build_onnx(round_layers(weights, spec, rounded, coded_by(units)), spec).SerializeToString()
        found = answers(model)
        return _Attempt(float_layers, units, model, task.score(metric, labels, found, spec.num_classes),
                        task.likeness.of(float_answers, found, spec.num_classes))

    def holds(one: _Attempt) -> bool:  # all in float always does, even where the metric is no number
        return len(one.float_layers) == len(arrays) or metric_before - one.metric <= max_accuracy_drop

    by_bytes = sorted(arrays, key=lambda layer: sum(weights[name].size for name in arrays[layer]))
    best = attempt(units=1 if coded_by(wished) is None else wished)
    if not holds(best):
        best = attempt()
        while not holds(best):
            best = attempt(tuple(by_bytes[:len(best.float_layers) + 1]))
        for layer in reversed(best.float_layers[:-1]):
            without = attempt(tuple(kept for kept in best.float_layers if kept != layer))
            best = without if holds(without) else best
        for units in () if "embedding" in best.float_layers else _fewer_and_fewer(wished):
            if coded_by(units) is not None and holds(attempt(best.float_layers, units)):
                best = attempt(best.float_layers, units)
                break
    if best.float_layers:
        _log.warning("QuantBiLSTM: %s stay in float, int8 would cost more than %g %s; raise "
                     "QuantBiLSTM.max_accuracy_drop for a smaller, faster student",
                     ", ".join(best.float_layers), max_accuracy_drop, metric)
    with whole_file(path) as partial:
        partial.write_bytes(best.model)
    why = "its zeros are to stay zero" if pruned else "codes would take more bytes"
    if coded_by(wished) is not None:
        why = f"{wished} would cost more than {max_accuracy_drop:g} {metric}"
    coding = _coding(best.units, wished, why)
    if best.units < wished and coded_by(wished) is not None:
        _log.warning("QuantBiLSTM: %s", coding)
    return QuantizationResult(Path(path), best.units, coding, best.float_layers, metric_before, best.metric,
                              best.agreement)


def _coding(units: int, wished: int, why: str) -> str:
    """Return a sentence of how many units share a byte, and why not as many as wished; empty where that is 1."""
    if wished == 1:
        return ""
    return f"{units if units > 1 else 'No'} units of the embedding share a byte{f': {why}' if units < wished else ''}."


def _fewer_and_fewer(units: int) -> Iterator[int]:
    """Yield ``units``, about half of them, ... and 2: ``5 -> 5, 3, 2``."""
    while units > 1:
        yield units
        units = (units + 1) // 2 if units > 2 else 1


@dataclass(frozen=True)
class _Attempt:
    float_layers: tuple[str, ...]
    units: int
    model: bytes
    metric: float
    agreement: float


@old_programs()
def put_int8_embedding(source: Path, folder: Path, spec: StudentSpec, table: Int8Array) -> None:
    """Write the student at the prefix ``source`` into ``folder``, its embedding replaced, all else as it is.

    Args:
        table: values int8 ``[rows, units]``, a scale a row.
    """
    place = paddle.CPUPlace()
    executor = paddle.static.Executor(place)
    with own_scope(), paddle.utils.unique_name.guard("int8_"):
        program, feed_names, outputs = paddle.static.load_inference_model(str(source), executor)
        block = program.global_block()
        parameter = parameter_names(spec)["embedding"]
        position, lookup = next((position, op) for position, op in enumerate(block.ops)
                                if op.type == "lookup_table_v2" and op.input("W") == [parameter])
        ids, rows = block.var(lookup.input("Ids")[0]), block.var(lookup.output("Out")[0])

        def stored(name: str, value: np.ndarray):
            paddle.static.global_scope().var(name).get_tensor().set(value, place)
            return block.create_var(name=name, shape=value.shape, dtype=str(value.dtype), persistable=True,
                                    stop_gradient=True)

        def found(name: str, dtype: str, units: int):
            return block.create_var(name=name, shape=[*ids.shape, units], dtype=dtype)

        values, scale = stored("embedding_int8", table.values), stored(EMBEDDING_SCALE, table.scale)
        one = stored("embedding_one", np.ones(1, np.float32))
        units = table.values.shape[1]
        int8_rows, row_scale = found("embedding_rows", "int8", units), found("embedding_row_scale", "float32", 1)
        whole = found("embedding_as_float", "float32", units)
        block._remove_op(position)
        for kind, inputs, output, attributes in reversed((
                ("lookup_table_v2", {"W": values, "Ids": ids}, int8_rows, {}),
                ("dequantize_abs_max", {"X": int8_rows, "Scale": one}, whole, {"max_range": 1.0}),
                ("lookup_table_v2", {"W": scale, "Ids": ids}, row_scale, {}),
                ("elementwise_mul", {"X": whole, "Y": row_scale}, rows, {"axis": -1}))):
            block._insert_op(position, type=kind, inputs=inputs, outputs={"Out": output}, attrs=attributes)
        whole.desc.set_dtype(paddle.base.core.VarDesc.VarType.FP32)  # Paddle 3 takes the input's
        block._remove_var(parameter)
        save_inference_model(folder / MODEL_NAME, [block.var(name) for name in feed_names], outputs, executor, program)
