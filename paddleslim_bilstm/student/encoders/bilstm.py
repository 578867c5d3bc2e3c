"""The Bi-LSTM of the paper (Tang et al. 2019, section 3.1): the default student."""

from __future__ import annotations

from paddle import nn

from ..graph import RUNTIME_DOMAIN, Graph, Int8Array, Weights
from ..recurrent import RecurrentEncoder, directions_of, in_onnx_order, stacked
from ..spec import StudentSpec
from . import student_encoder


@student_encoder("bilstm")
class BiLSTM(RecurrentEncoder):
    """Bidirectional LSTM layers; int8 as the runtime's ``DynamicQuantizeLSTM``."""

    prefix, cell, gates = "lstm", nn.LSTM, 4
    onnx_gates = (0, 3, 1, 2)  # Paddle's i, f, c, o -> i, o, f, c

    def int8_arrays(self, spec: StudentSpec) -> dict[str, list[str]]:
        return {f"lstm.{layer}": [f"lstm.{layer}.{direction}.{part}" for part in ("weight_ih", "weight_hh")
                                  for direction in ("forward", "backward")] for layer in range(spec.num_layers)}

    def add_layer(self, graph: Graph, weights: Weights, name: str, inputs: str, lengths: str, units: int) -> list[str]:
        """int8 weights: inputs and states are rounded to 8 bits as they come, weights have one scale a gate unit."""
        outputs, shape = [f"{name}.states", f"{name}.last"], {"direction": "bidirectional", "hidden_size": units}
        bias = self.add_bias(graph, weights, name)
        parts = {part: directions_of(weights, name, part) for part in ("weight_ih", "weight_hh")}
        if not isinstance(parts["weight_ih"][0], Int8Array):
            matrices = [graph.constant(f"{name}.{part}", stacked(arrays, self.onnx_gates))
                        for part, arrays in parts.items()]
            graph.add("LSTM", name, [inputs, *matrices, bias, lengths], outputs, **shape)
            return outputs
        matrices, scales = [], []
        for part, arrays in parts.items():
            values = [in_onnx_order(one.values, self.onnx_gates).T for one in arrays]
            scale = [in_onnx_order(one.scale, self.onnx_gates)[:, 0] for one in arrays]
            matrices.append(graph.constant(f"{name}.{part}.int8", stacked(values)))
            scales.append(graph.constant(f"{name}.{part}.scale", stacked(scale)))
        zeros = graph.zeros(f"{name}.zero_point", (2, 4 * units))
        graph.add("DynamicQuantizeLSTM", name,
                  [inputs, *matrices, bias, lengths, "", "", "", scales[0], zeros, scales[1], zeros], outputs,
                  RUNTIME_DOMAIN, **shape)
        return outputs
