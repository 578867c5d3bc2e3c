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


Weight = Union[np.ndarray, Int8Array]
Weights = Mapping[str, Weight]  # a student's, by name; some of them int8


@dataclass
class Graph:
    """Nodes and initializers in the order in which they are added."""

    nodes: list[onnx.NodeProto] = field(default_factory=list)
    initializers: list[onnx.TensorProto] = field(default_factory=list)

    def constant(self, name: str, array: np.ndarray) -> str:
        """Add an initializer, once, and return its name."""
        if all(one.name != name for one in self.initializers):
            self.initializers.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name

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

    def behind_end(self, states: str, lengths: str, value: float) -> str:
        """Add ``value`` for places behind a sentence's end and 0 within, float32 ``[length, batch]``.

        Args:
            states: name of an array whose first axis is the padded length.
            lengths: name of int32 ``[batch]``.
        """
        first, step = (self.constant(f"time.{one}", np.array(one, np.int32)) for one in (0, 1))
        steps = self.add("Cast", "padded_length_int32", [self.add("Shape", "padded_length", [states], end=1)],
                         to=TensorProto.INT32)
        steps = self.add("Reshape", "padded_steps", [steps, self.constant("scalar", np.empty(0, np.int64))])
        place = self.add("Unsqueeze", "time", [self.add("Range", "times", [first, steps, step]), self.axes(1)])
        behind = self.add("Not", "behind", [self.add("Less", "within", [place, lengths])])
        behind = self.add("Cast", "behind_float", [behind], to=TensorProto.FLOAT)
        return self.add("Mul", "lowered", [behind, self.constant("lower", np.array(value, np.float32))])


def add_embedding(graph: Graph, weight: Weight, rows: str) -> str:
    """Look up ``rows`` (int, any shape); the result has one more axis. int8: one scale a row."""
    if not isinstance(weight, Int8Array):
        return graph.add("Gather", "embedded", [graph.constant("embedding", weight), rows])
    values = graph.add("Gather", "embedded_int8", [graph.constant("embedding.int8", weight.values), rows])
    scales = graph.add("Gather", "embedded_scale", [graph.constant("embedding.scale", weight.scale), rows])
    values = graph.add("Cast", "embedded_rounded", [values], to=TensorProto.FLOAT)
    return graph.add("Mul", "embedded", [values, scales])


def add_linear(graph: Graph, weights: Weights, name: str, inputs: str, output: str) -> str:
    """Add ``output = inputs @ weight + bias``; int8: inputs rounded as they come, one scale a column."""
    weight, bias = weights[f"{name}.weight"], graph.constant(f"{name}.bias", weights[f"{name}.bias"])
    if not isinstance(weight, Int8Array):
        return graph.add("Gemm", output, [inputs, graph.constant(f"{name}.weight", weight), bias])
    matrix = graph.constant(f"{name}.weight.int8", weight.values)
    scale = graph.constant(f"{name}.weight.scale", weight.scale[0])
    return graph.add("DynamicQuantizeMatMul", output, [inputs, matrix, scale, "", bias], domain=RUNTIME_DOMAIN)
