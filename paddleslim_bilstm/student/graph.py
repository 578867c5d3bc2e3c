"""The student as an ONNX graph in the making, and its weights in float or int8."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Mapping, Union

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

RUNTIME_DOMAIN = "com.microsoft"


@dataclass(frozen=True)
class Int8Array:
    """Symmetric int8 weights: ``values * scale`` are the weights, zero stays exactly zero.

    Attributes:
        values: int8, the shape of the weights.
        scale: float32, as many axes as ``values``, 1 along those that share a scale.
    """

    values: np.ndarray
    scale: np.ndarray

    def to_float(self) -> np.ndarray:
        """Return the weights that the integers stand for, float32."""
        return self.values * self.scale


CODES = 256  # that a byte tells apart


@dataclass(frozen=True)
class CodedArray:
    """A table whose rows are put together: a byte chooses one of `CODES` vectors for each group of units.

    Attributes:
        codes: uint8 ``[rows, groups]``.
        vectors: values int8 ``[groups, CODES, units of a group]``, one scale; behind the last unit they are 0.
        units: of a row.
    """

    codes: np.ndarray
    vectors: Int8Array
    units: int

    @property
    def scale(self) -> np.ndarray:
        """One step for all values, float32 ``[1, 1]``."""
        return self.vectors.scale.reshape(1, 1)

    def to_float(self) -> np.ndarray:
        """Return the weights that the codes stand for, float32 ``[rows, units]``."""
        groups = np.arange(self.codes.shape[1])
        return self.vectors.to_float()[groups, self.codes].reshape(len(self.codes), -1)[:, :self.units]


Weight = Union[np.ndarray, Int8Array, CodedArray]
Weights = Mapping[str, Weight]  # a student's, by name; some of them int8


@dataclass
class Graph:
    """Nodes and initializers in the order in which they are added."""

    nodes: list[onnx.NodeProto] = field(default_factory=list)
    initializers: list[onnx.TensorProto] = field(default_factory=list)

    def constant(self, name: str, array: np.ndarray) -> str:
        """Add an initializer, once, and return its name.

        Raises:
            ValueError: there is another one of this name.
        """
        added = numpy_helper.from_array(np.ascontiguousarray(array), name)
        known = next((one for one in self.initializers if one.name == name), None)
        if known is None:
            self.initializers.append(added)
        elif known != added:
            raise ValueError(f"the graph has another constant called {name}; choose another name")
        return name

    @property
    def used_initializers(self) -> list[onnx.TensorProto]:
        """Those that a node reads: ONNX Runtime warns of any other each time a file is loaded."""
        read = {name for node in self.nodes for name in node.input}
        return [one for one in self.initializers if one.name in read]

    def zeros(self, name: str, shape: tuple[int, ...]) -> str:
        """Add int8 zeros, the zero points of symmetric weights."""
        return self.constant(name, np.zeros(shape, np.int8))

    def axes(self, *axes: int) -> str:
        """Add a list of axes, int64."""
        return self.constant(f"axes.{'.'.join(map(str, axes))}", np.array(axes, np.int64))

    def add(self, operator: str, name: str, inputs: list[str], outputs: list[str] | None = None, domain: str = "",
            **attributes: object) -> str:
        """Add a node and return its (first) output, which is called ``name`` unless ``outputs`` are given."""
        outputs = outputs or [name]
        self.nodes.append(helper.make_node(operator, inputs, outputs, name=name, domain=domain, **attributes))
        return outputs[0]

    def join(self, name: str, states: str, order: list[int], shape: list[int]) -> str:
        """Bring the axis of the two directions beside the units (``order``) and merge them (``shape``)."""
        moved = self.add("Transpose", f"{name}.moved", [states], perm=order)
        return self.add("Reshape", name, [moved, self.constant(f"{name}.shape", np.array(shape, np.int64))])

    def places(self, name: str, array: str) -> str:
        """Add the numbers of the places along the first axis of ``array``, int32 ``[length]``."""
        first, step = (self.constant(f"time.{one}", np.array(one, np.int32)) for one in (0, 1))
        count = self.add("Cast", f"{name}_length_int32", [self.add("Shape", f"{name}_length", [array], end=1)],
                         to=TensorProto.INT32)
        count = self.add("Reshape", f"{name}_count", [count, self.constant("scalar", np.empty(0, np.int64))])
        return self.add("Range", f"{name}_places", [first, count, step])

    def within(self, states: str, lengths: str, axes: int) -> str:
        """Add what is true within a sentence, bool of ``axes`` axes: ``[length, ..., batch, 1]``.

        Args:
            states: name of an array whose first axis is the padded length.
            lengths: name of int32 ``[batch]``.
        """
        place = self.add("Unsqueeze", "time", [self.places("padded", states), self.axes(*range(1, axes))])
        return self.add("Less", "within", [place, self.add("Unsqueeze", "row_lengths", [lengths, self.axes(1)])])


LARGEST_ROUNDED = 127  # of an activation's 8 bits; one more fits below zero
_ZERO_POINT = 128
GUARDS = 2
_INT8_GUARDS = np.array([-1 - LARGEST_ROUNDED, LARGEST_ROUNDED], np.int8)
MATCH = 1.0  # what a token's first unit is where it occurs on the other side of a pair, too


def add_embedding(graph: Graph, weight: Weight, rows: str, guarded: bool = False, matched: str | None = None) -> str:
    """Look up ``rows`` (int, any shape); the result has one more axis.

    Args:
        guarded: `GUARDS` more units hold the least and the largest value that any can have, so that who rounds all by
            their range does it alike for every batch. Of an int8 or coded table, which has one scale then, the
            integers come as they are: rounding them by that range changes none.
        matched: name of what stands before the embeddings, float32 of their shape with one unit, 0 or `MATCH`.
    """
    if matched is None:
        return _looked_up(graph, weight, rows, guarded)
    if guarded and not isinstance(weight, np.ndarray):
        steps = graph.constant("match_steps", np.array(np.rint(MATCH / weight.scale.item()), np.float32))
        matched = graph.add("Mul", "matched_rounded", [matched, steps])
    embedded = _looked_up(graph, weight, rows, guarded, MATCH)
    return graph.add("Concat", "matched_and_embedded", [matched, embedded], axis=-1)


def _looked_up(graph: Graph, weight: Weight, rows: str, guarded: bool, least_bound: float = 0.0) -> str:
    if isinstance(weight, np.ndarray):
        bound = max(np.abs(weight).max(), least_bound)
        table = _with_guards(weight, bound * np.array([-1, 1], np.float32)) if guarded else weight
        return graph.add("Gather", "embedded", [graph.constant("embedding", table), rows])
    coded = isinstance(weight, CodedArray)
    if coded:
        values = _decoded(graph, weight, rows, guarded)
    else:
        table = _with_guards(weight.values, _INT8_GUARDS) if guarded else weight.values
        values = graph.add("Gather", "embedded_int8", [graph.constant("embedding.int8", table), rows])
    values = graph.add("Cast", "embedded_rounded", [values], to=TensorProto.FLOAT)
    if guarded:
        return values
    scales = graph.constant("embedding.scale", weight.scale)
    return graph.add("Mul", "embedded",
                     [values, scales if coded else graph.add("Gather", "embedded_scale", [scales, rows])])


def _decoded(graph: Graph, weight: CodedArray, rows: str, guarded: bool) -> str:
    """Put the rows ``[length, batch]`` of a coded table together, int8 with an axis more, guards behind the units."""
    size, width = weight.vectors.values.shape[2], weight.units + GUARDS * guarded
    groups = -(-width // size)
    more = ((0, 0), (0, groups - weight.codes.shape[1]))
    codes = graph.constant("embedding.codes", np.pad(weight.codes, more))
    vectors = weight.vectors.values.transpose(1, 0, 2).reshape(CODES, -1)  # a row holds those of one code
    vectors = np.pad(vectors, ((0, 0), (0, groups * size - vectors.shape[1])))
    vectors[:, weight.units:width] = _INT8_GUARDS[:width - weight.units]
    vectors = vectors.reshape(CODES, groups, size).transpose(1, 0, 2).reshape(-1, size)
    found = graph.add("Cast", "embedded_codes", [graph.add("Gather", "embedded_bytes", [codes, rows])],
                      to=TensorProto.INT32)
    firsts = graph.constant("embedding.first_vectors", np.arange(groups, dtype=np.int32) * CODES)
    found = graph.add("Gather", "embedded_groups", [graph.constant("embedding.vectors", vectors),
                                                    graph.add("Add", "embedded_vectors", [found, firsts])])
    shape = graph.constant("embedded_shape", np.array([0, 0, groups * size], np.int64))
    found = graph.add("Reshape", "embedded_int8", [found, shape])
    if groups * size == width:
        return found
    begin, end = graph.axes(0), graph.constant("embedded_width", np.array([width], np.int64))
    return graph.add("Slice", "embedded_units", [found, begin, end, graph.axes(2)])


def _with_guards(table: np.ndarray, guards: np.ndarray) -> np.ndarray:
    return np.concatenate([table, np.broadcast_to(guards, (len(table), GUARDS))], axis=1)


def add_linear(graph: Graph, weights: Weights, name: str, inputs: str, output: str, bound: float | None = None) -> str:
    """Add ``output = inputs @ weight + bias``; int8: inputs rounded, one scale a column.

    Args:
        bound: what no input exceeds in absolute value. Without it each row is rounded by its own largest value; never
            by the whole batch's, or an answer would depend on its neighbours.
    """
    weight, bias = weights[f"{name}.weight"], graph.constant(f"{name}.bias", weights[f"{name}.bias"])
    if not isinstance(weight, Int8Array):
        return graph.add("Gemm", output, [inputs, graph.constant(f"{name}.weight", weight), bias])
    largest = None
    if bound is None:
        largest = graph.add("ReduceMax", f"{name}.largest", [graph.add("Abs", f"{name}.size", [inputs])], axes=[1])
        least = graph.constant(f"{name}.least", np.array(np.finfo(np.float32).tiny, np.float32))
        largest = graph.add("Max", f"{name}.range", [largest, least])
        inputs = graph.add("Div", f"{name}.within_one", [inputs, largest])
    step = graph.constant(f"{name}.step", np.array((bound or 1.0) / LARGEST_ROUNDED, np.float32))
    zero = graph.constant(f"{name}.zero_point", np.array(_ZERO_POINT, np.uint8))
    rounded = graph.add("QuantizeLinear", f"{name}.rounded", [inputs, step, zero])
    matrix = graph.constant(f"{name}.weight.int8", weight.values)
    scale = graph.constant(f"{name}.weight.scale", weight.scale[0])
    product = [rounded, matrix, step, scale, zero, ""]
    if largest is None:
        return graph.add("MatMulIntegerToFloat", output, [*product, bias], domain=RUNTIME_DOMAIN)
    product = graph.add("MatMulIntegerToFloat", f"{name}.product", product[:-1], domain=RUNTIME_DOMAIN)
    return graph.add("Add", output, [graph.add("Mul", f"{name}.whole", [product, largest]), bias])
