"""The student's layers as ONNX nodes: float, or int8 where the weights are `Int8Array`s."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import onnx
from onnx import helper, numpy_helper

from ..student.weights import DIRECTIONS
from .int8_array import Int8Array, Weight, Weights

RUNTIME_DOMAIN = "com.microsoft"
_PADDLE_TO_ONNX_GATES = [0, 3, 1, 2]  # i, f, c, o -> i, o, f, c


@dataclass
class Graph:
    """Nodes and initializers in the order in which they are added."""

    nodes: list[onnx.NodeProto] = field(default_factory=list)
    initializers: list[onnx.TensorProto] = field(default_factory=list)

    def constant(self, name: str, array: np.ndarray) -> str:
        self.initializers.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name

    def add(self, operator: str, name: str, inputs: list[str], outputs: list[str] | None = None, domain: str = "",
            **attributes: object) -> str:
        """Add a node and return its (first) output, which is called ``name`` unless ``outputs`` are given."""
        outputs = outputs or [name]
        self.nodes.append(helper.make_node(operator, inputs, outputs, name=name, domain=domain, **attributes))
        return outputs[0]


def add_embedding(graph: Graph, weight: Weight, rows: str) -> str:
    """Look up ``rows`` (int, any shape); the result has one more axis. int8: one scale a row."""
    if not isinstance(weight, Int8Array):
        return graph.add("Gather", "embedded", [graph.constant("embedding", weight), rows])
    values = graph.add("Gather", "embedded_int8", [graph.constant("embedding.int8", weight.values), rows])
    scales = graph.add("Gather", "embedded_scale", [graph.constant("embedding.scale", weight.scale), rows])
    values = graph.add("Cast", "embedded_rounded", [values], to=onnx.TensorProto.FLOAT)
    return graph.add("Mul", "embedded", [values, scales])


def add_lstm(graph: Graph, weights: Weights, layer: int, inputs: str, lengths: str) -> tuple[str, str]:
    """Add bidirectional layer ``layer`` over ``inputs`` ``[length, batch, in]``.

    int8 weights become the runtime's ``DynamicQuantizeLSTM``: inputs and states are rounded to 8 bits as they
    come, weights have one scale a gate unit.

    Returns:
        the names of all states ``[length, 2, batch, units]`` and of the last ones ``[2, batch, units]``.
    """
    name = f"lstm.{layer}"
    parts = {part: [weights[f"{name}.{direction}.{part}"] for direction in DIRECTIONS]
             for part in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")}
    units = len(parts["bias_ih"][0]) // 4
    biases = [np.concatenate([_onnx_gates(bias_ih), _onnx_gates(bias_hh)])
              for bias_ih, bias_hh in zip(parts["bias_ih"], parts["bias_hh"])]
    bias = graph.constant(f"{name}.bias", np.stack(biases))
    outputs = [f"{name}.states", f"{name}.last"]
    shape = {"direction": "bidirectional", "hidden_size": units}
    if not isinstance(parts["weight_ih"][0], Int8Array):
        matrices = [graph.constant(f"{name}.{part}", np.stack([_onnx_gates(one) for one in parts[part]]))
                    for part in ("weight_ih", "weight_hh")]
        graph.add("LSTM", name, [inputs, *matrices, bias, lengths], outputs, **shape)
        return outputs[0], outputs[1]
    matrices, scales = [], []
    for part in ("weight_ih", "weight_hh"):
        values = np.stack([_onnx_gates(one.values).T for one in parts[part]])
        scale = np.stack([_onnx_gates(one.scale)[:, 0] for one in parts[part]])
        matrices.append(graph.constant(f"{name}.{part}.int8", values))
        scales.append(graph.constant(f"{name}.{part}.scale", scale))
    zeros = graph.constant(f"{name}.zero_point", np.zeros((2, 4 * units), np.int8))
    graph.add("DynamicQuantizeLSTM", name,
              [inputs, *matrices, bias, lengths, "", "", "", scales[0], zeros, scales[1], zeros], outputs,
              RUNTIME_DOMAIN, **shape)
    return outputs[0], outputs[1]


def add_largest(graph: Graph, states: str, lengths: str, one: str) -> str:
    """Take each unit's largest of all states ``[length, 2, batch, units]``: ``[2, batch, units]``.

    As `student.encoder.largest_states`: behind a sentence's end (int32 ``lengths``) a state counts 2 less.
    """
    first, step = (graph.constant(f"time.{value}", np.array(value, np.int32)) for value in (0, 1))
    steps = graph.add("Cast", "padded_length_int32", [graph.add("Shape", "padded_length", [states], end=1)],
                      to=onnx.TensorProto.INT32)
    steps = graph.add("Reshape", "padded_steps", [steps, graph.constant("scalar", np.empty(0, np.int64))])
    place = graph.add("Unsqueeze", "time", [graph.add("Range", "times", [first, steps, step]), one])
    behind = graph.add("Not", "behind", [graph.add("Less", "within", [place, lengths])])
    behind = graph.add("Cast", "behind_float", [behind], to=onnx.TensorProto.FLOAT)
    lowered = graph.add("Mul", "lowered", [behind, graph.constant("lower", np.array(-2, np.float32))])
    axes = graph.constant("direction_and_unit", np.array([1, 3], np.int64))
    counted = graph.add("Add", "counted_states", [states, graph.add("Unsqueeze", "lowered_states", [lowered, axes])])
    return graph.add("ReduceMax", "largest", [counted], axes=[0], keepdims=0)


def add_linear(graph: Graph, weights: Weights, name: str, inputs: str, output: str) -> str:
    """Add ``output = inputs @ weight + bias``; int8: inputs rounded as they come, one scale a column."""
    weight, bias = weights[f"{name}.weight"], graph.constant(f"{name}.bias", weights[f"{name}.bias"])
    if not isinstance(weight, Int8Array):
        return graph.add("Gemm", output, [inputs, graph.constant(f"{name}.weight", weight), bias])
    matrix = graph.constant(f"{name}.weight.int8", weight.values)
    scale = graph.constant(f"{name}.weight.scale", weight.scale[0])
    return graph.add("DynamicQuantizeMatMul", output, [inputs, matrix, scale, "", bias], domain=RUNTIME_DOMAIN)


def _onnx_gates(array: np.ndarray) -> np.ndarray:
    """Reorder the four blocks along the first axis from Paddle's gate order to ONNX's."""
    return np.concatenate([np.split(array, 4)[gate] for gate in _PADDLE_TO_ONNX_GATES])
