"""What a recurrent student's classifier sees of its states: the last ones, and beside them a summary of all.

Each kind has its Paddle layer, its weights and its ONNX nodes here.
"""

from __future__ import annotations

import paddle
from paddle import nn

from .graph import Graph, Weights
from .spec import ATTENTION, LAST_STATES, MAX_STATES, StudentSpec

_NEVER = 1e9  # less of a score than makes any difference


class Pooling:
    """The last states of both directions alone, as in the paper; the base of the others.

    Attributes:
        vectors: of the size of both directions' states, that it makes of a sentence.
        joint: whether it needs the states of both directions, place by place.
    """

    vectors = 1
    joint = False

    def shapes(self, spec: StudentSpec) -> dict[str, tuple[int, ...]]:
        """Return the shape of each weight of its own by name, ``<pooling>.<parameter>``."""
        return {}

    def layer(self, spec: StudentSpec, by_place: bool = False) -> nn.Layer | None:
        """Return ``layer(states [length, batch, units], lengths [batch]) -> [batch, units]``, or None for nothing."""
        return None

    def add_nodes(self, graph: Graph, weights: Weights, states: str, last: str, lengths: str) -> str:
        """Add the ONNX nodes and return the name of ``[batch, vectors * 2 * units]``.

        Args:
            states: name of ``[length, 2, batch, units]``.
            last: name of ``[2, batch, units]``.
            lengths: name of int32 ``[batch]``.
        """
        return graph.join("last_states", last, [1, 0, 2], [0, -1])


class MaxPooling(Pooling):
    """Beside the last states the largest of every unit over the sentence.

    Source: max pooling over a Bi-LSTM as in InferSent (Conneau et al. 2017, arXiv 1705.02364), section 3.2.
    """

    vectors = 2

    def layer(self, spec: StudentSpec, by_place: bool = False) -> nn.Layer:
        return _Largest(by_place)

    def add_nodes(self, graph: Graph, weights: Weights, states: str, last: str, lengths: str) -> str:
        """As `largest_states`: behind a sentence's end a state counts 2 less."""
        last = super().add_nodes(graph, weights, states, last, lengths)
        lowered = graph.behind_end(states, lengths, -2)
        counted = graph.add("Add", "counted_states",
                            [states, graph.add("Unsqueeze", "lowered_states", [lowered, graph.axes(1, 3)])])
        largest = graph.add("ReduceMax", "largest", [counted], axes=[0], keepdims=0)
        largest = graph.join("largest_states", largest, [1, 0, 2], [0, -1])
        return graph.add("Concat", "pooled_states", [last, largest], axis=1)


class AttentionPooling(Pooling):
    """Beside the last states the mean of all, each weighted by how much it matters.

    Source: Zhou et al. 2016 (ACL, P16-2034), equations 9 to 11: ``softmax(w tanh(H))`` weighs the states H.
    """

    vectors = 2
    joint = True

    def shapes(self, spec: StudentSpec) -> dict[str, tuple[int, ...]]:
        return {f"{ATTENTION}.weight": (2 * spec.hidden_size, 1)}

    def layer(self, spec: StudentSpec, by_place: bool = False) -> nn.Layer:
        return _Attention(2 * spec.hidden_size)

    def add_nodes(self, graph: Graph, weights: Weights, states: str, last: str, lengths: str) -> str:
        last = super().add_nodes(graph, weights, states, last, lengths)
        states = graph.join("states", states, [0, 2, 1, 3], [0, 0, -1])
        weight = graph.constant(f"{ATTENTION}.weight", weights[f"{ATTENTION}.weight"])
        scores = graph.add("MatMul", "scores", [graph.add("Tanh", "states_tanh", [states]), weight])
        lowered = graph.add("Unsqueeze", "lowered_scores", [graph.behind_end(states, lengths, -_NEVER), graph.axes(2)])
        shares = graph.add("Softmax", "shares", [graph.add("Add", "counted_scores", [scores, lowered])], axis=0)
        weighted = graph.add("Mul", "weighted_states", [states, shares])
        mean = graph.add("ReduceSum", "mean_state", [weighted, graph.axes(0)], keepdims=0)
        return graph.add("Concat", "pooled_states", [last, mean], axis=1)


_POOLINGS = {LAST_STATES: Pooling(), MAX_STATES: MaxPooling(), ATTENTION: AttentionPooling()}


def pooling_of(spec: StudentSpec) -> Pooling:
    """Return the kind of pooling that ``spec.pooling`` names."""
    return _POOLINGS[spec.pooling]


class _Largest(nn.Layer):
    def __init__(self, by_place: bool):
        super().__init__()
        self._by_place = by_place

    def forward(self, states, lengths):
        return largest_states(states, lengths, self._by_place)


class _Attention(nn.Layer):
    def __init__(self, units: int):
        super().__init__()
        self.weight = self.create_parameter((units, 1))

    def forward(self, states, lengths):
        scores = paddle.matmul(paddle.tanh(states), self.weight) + (_within(states, lengths) - 1) * _NEVER
        return paddle.sum(nn.functional.softmax(scores, axis=0) * states, axis=0)


def largest_states(states, lengths, by_place: bool = False):
    """Return each unit's largest state over a sentence: ``[length, batch, units]`` -> ``[batch, units]``.

    States lie between -1 and 1, so those behind a sentence's end, less 2, are never the largest.

    Args:
        lengths: int32 ``[batch]``.
        by_place: look up where the largest is and take it from there: the same, with a gradient that takes a sixteenth
            of the time.
    """
    lowered = states + (_within(states, lengths) - 1) * 2
    if not by_place:
        return paddle.max(lowered, axis=0)
    lowered.stop_gradient = True
    largest = paddle.argmax(lowered, axis=0, keepdim=True)
    return paddle.squeeze(paddle.take_along_axis(states, largest, axis=0), axis=0)


def _within(states, lengths):
    """Return 1 for places within a sentence and 0 behind its end, float32 ``[length, batch, 1]``."""
    place = paddle.unsqueeze(paddle.arange(paddle.shape(states)[0], dtype="int32"), axis=1)
    return paddle.unsqueeze(paddle.cast(place < lengths, "float32"), axis=2)
