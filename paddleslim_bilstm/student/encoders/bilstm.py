"""The Bi-LSTM of the paper (Tang et al. 2019, section 3.1): the default student."""

from __future__ import annotations

from typing import Sequence

import numpy as np
from paddle import nn

from ..graph import GUARDS, RUNTIME_DOMAIN, Graph, Int8Array, Weights
from ..recurrent import RecurrentEncoder, States, directions_of, in_onnx_order, stacked
from ..spec import StudentSpec
from . import student_encoder

_WIDE_OPEN = 20.0  # a gate's bias: its sigmoid, and the tanh, are 1


@student_encoder("bilstm")
class BiLSTM(RecurrentEncoder):
    """Bidirectional LSTM layers; int8 as the runtime's ``DynamicQuantizeLSTM``.

    That rounds inputs and states by the range that a batch, at a step, happens to have. Two guards keep the range, so
    that no answer depends on its neighbours: inputs hold their bounds, and two more units of the layer keep all gates
    open and add 1, or -1, to their cell at every step: no state of any other can exceed theirs, tanh(1), tanh(2), ...,
    but for the last bit, by which the runtime's functions overshoot 1 where gates are all but saturated.
    """

    prefix, cell, gates = "lstm", nn.LSTM, 4
    onnx_gates = (0, 3, 1, 2)  # Paddle's i, f, c, o -> i, o, f, c

    def int8_arrays(self, spec: StudentSpec) -> dict[str, list[str]]:
        return {f"lstm.{layer}": [f"lstm.{layer}.{direction}.{part}" for part in ("weight_ih", "weight_hh")
                                  for direction in ("forward", "backward")] for layer in range(spec.num_layers)}

    def rounds_inputs(self, weights: Weights) -> bool:
        return _is_int8(weights, "lstm.0")

    def add_layer(self, graph: Graph, weights: Weights, name: str, inputs: str, lengths: str, units: int) -> States:
        """int8 weights: inputs and states are rounded to 8 bits as they come, weights have one scale a gate unit."""
        outputs, shape = [f"{name}.states", f"{name}.last"], {"direction": "bidirectional", "hidden_size": units}
        if not _is_int8(weights, name):
            matrices = [graph.constant(f"{name}.{part}", stacked(directions_of(weights, name, part), self.onnx_gates))
                        for part in ("weight_ih", "weight_hh")]
            graph.add("LSTM", name, [inputs, *matrices, self.add_bias(graph, weights, name), lengths], outputs, **shape)
            return States(*outputs, units)
        if name == "lstm.0":
            step = 1.0 if isinstance(weights["embedding"], np.ndarray) else weights["embedding"].scale.item()
        else:
            inputs, step = _guarded(graph, name, inputs), 1.0
        matrices, scales = [], []
        for part, factor in (("weight_ih", step), ("weight_hh", 1.0)):
            arrays = directions_of(weights, name, part)
            values = [np.pad(one.values, ((0, 0), (0, GUARDS))) for one in arrays]
            values = [in_onnx_order(_guards_in_gates(one, [np.zeros((GUARDS, one.shape[1]), np.int8)] * self.gates),
                                    self.onnx_gates).T for one in values]
            scale = [in_onnx_order(_guards_in_gates(one.scale[:, 0] * np.float32(factor),
                                                    [np.ones(GUARDS, np.float32)] * self.gates), self.onnx_gates)
                     for one in arrays]
            matrices.append(graph.constant(f"{name}.{part}.int8", stacked(values)))
            scales.append(graph.constant(f"{name}.{part}.scale", stacked(scale)))
        guarded = {f"{name}.{direction}.bias_{part}": self._guarding(weights[f"{name}.{direction}.bias_{part}"], part)
                   for direction in ("forward", "backward") for part in ("ih", "hh")}
        zeros = graph.zeros(f"{name}.zero_point", (2, 4 * (units + GUARDS)))
        graph.add("DynamicQuantizeLSTM", name,
                  [inputs, *matrices, self.add_bias(graph, guarded, name), lengths, "", "", "", scales[0], zeros,
                   scales[1], zeros], outputs, RUNTIME_DOMAIN, direction="bidirectional", hidden_size=units + GUARDS)
        return States(*outputs, units, GUARDS)

    def _guarding(self, bias: np.ndarray, part: str) -> np.ndarray:
        open_gate, cell = np.full(GUARDS, _WIDE_OPEN), _WIDE_OPEN * np.array([1, -1])
        guards = [open_gate, open_gate, cell, open_gate] if part == "ih" else [np.zeros(GUARDS)] * self.gates
        return _guards_in_gates(bias, guards).astype(np.float32)


def _guards_in_gates(array: np.ndarray, guards: Sequence[np.ndarray]) -> np.ndarray:
    """Return ``array`` with the guards' values behind the rows of each gate."""
    gates = np.split(array, len(guards))
    return np.concatenate([rows for pair in zip(gates, guards) for rows in pair])


def _is_int8(weights: Weights, name: str) -> bool:
    return isinstance(weights[f"{name}.forward.weight_ih"], Int8Array)


def _guarded(graph: Graph, name: str, states: str) -> str:
    """Add the bounds of states, -1 and 1, behind the states ``[length, batch, units]`` that a layer reads."""
    guards = graph.constant("state_guards", np.array([[[-1, 1]]], np.float32))
    places = graph.add("Shape", f"{name}.places", [states], end=2)
    shape = graph.add("Concat", f"{name}.guards_shape", [places, graph.axes(GUARDS)], axis=0)
    guards = graph.add("Expand", f"{name}.guards", [guards, shape])
    return graph.add("Concat", f"{name}.guarded", [states, guards], axis=2)
