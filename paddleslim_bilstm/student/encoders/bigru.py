"""A bidirectional GRU (Cho et al. 2014, arXiv 1406.1078) in place of the LSTM: three gates for four, so a quarter less.

ONNX Runtime has no int8 GRU; with ``QuantBiLSTM`` its embedding and hidden layer become int8.
"""

from __future__ import annotations

from paddle import nn

from ..graph import Graph, Weights
from ..recurrent import RecurrentEncoder, States, directions_of, stacked
from . import student_encoder


@student_encoder("bigru")
class BiGRU(RecurrentEncoder):
    """Bidirectional GRU layers, the reset gate behind the product as in cuDNN, Paddle and ``linear_before_reset``."""

    prefix, cell, gates = "gru", nn.GRU, 3
    onnx_gates = (1, 0, 2)  # Paddle's r, z, c -> z, r, h

    def add_layer(self, graph: Graph, weights: Weights, name: str, inputs: str, lengths: str, units: int) -> States:
        outputs = [f"{name}.states", f"{name}.last"]
        matrices = [graph.constant(f"{name}.{part}", stacked(directions_of(weights, name, part), self.onnx_gates))
                    for part in ("weight_ih", "weight_hh")]
        graph.add("GRU", name, [inputs, *matrices, self.add_bias(graph, weights, name), lengths], outputs,
                  direction="bidirectional", hidden_size=units, linear_before_reset=1)
        return States(*outputs, units)
