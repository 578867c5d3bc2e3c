"""What bidirectional recurrent students share: layers, weights by name, training with both directions side by side."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import Sequence

import numpy as np
import paddle
from onnx import TensorProto
from paddle import nn

from .encoders import Encoder
from .graph import Graph, Weights
from .spec import ATTENTION, LAST_STATES, MAX_STATES, StudentSpec

DIRECTIONS = ("forward", "backward")
_PARTS = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
_SUFFIX = {"forward": "", "backward": "_reverse"}


@dataclass(frozen=True)
class States:
    """What an ONNX layer gives, by name.

    Attributes:
        every: all states, ``[length, 2, batch, units + guards]``.
        last: the last ones, ``[2, batch, units + guards]``.
        units: of each direction.
        guards: units behind them that nobody should see; the first one's states are above zero within a sentence.
    """

    every: str
    last: str
    units: int
    guards: int = 0

    def without_guards(self, graph: Graph, name: str, array: str, axis: int) -> str:
        """Return the name of ``array``, of one of these forms, without guards along ``axis``."""
        if not self.guards:
            return array
        return graph.add("Slice", name, [array, graph.axes(0), graph.axes(self.units), graph.axes(axis)])

    def counted(self, graph: Graph, lengths: str) -> str:
        """Return the name of all states, those behind a sentence's end, which are zero, less 1: no state is below."""
        if self.guards:
            guard = [graph.axes(self.units), graph.axes(self.units + 1), graph.axes(3)]
            within = graph.add("Sign", "within_float", [graph.add("Slice", "guard_states", [self.every, *guard])])
        else:
            within = graph.add("Cast", "within_float", [graph.within(self.every, lengths, 4)], to=TensorProto.FLOAT)
        lowered = graph.add("Sub", "lowered", [within, graph.constant("one_float", np.array(1, np.float32))])
        return graph.add("Add", "counted_states", [self.every, lowered])


class RecurrentEncoder(Encoder):
    """A kind of student of recurrent layers in both directions, whose states are pooled.

    Attributes:
        prefix: what its weights are called: ``<prefix>.<layer>.<direction>.<part>``.
        cell: Paddle's layer.
        gates: of a unit.
        onnx_gates: where ONNX's gates are among Paddle's.
    """

    prefix: str
    cell: type
    gates: int
    onnx_gates: tuple[int, ...]
    bound = 1.0  # states are a tanh times a share

    @abstractmethod
    def add_layer(self, graph: Graph, weights: Weights, name: str, inputs: str, lengths: str, units: int) -> States:
        """Add one layer over ``inputs`` ``[length, batch, in]``."""

    def features(self, spec: StudentSpec) -> int:
        return 2 * spec.hidden_size * pooling_of(spec).vectors

    def shapes(self, spec: StudentSpec) -> dict[str, tuple[int, ...]]:
        units, shapes = spec.hidden_size, {}
        for layer in range(spec.num_layers):
            inputs = spec.embed_dim if layer == 0 else 2 * units
            rows = self.gates * units
            for direction in DIRECTIONS:
                for part, shape in zip(_PARTS, ((rows, inputs), (rows, units), (rows,), (rows,))):
                    shapes[f"{self.prefix}.{layer}.{direction}.{part}"] = shape
        return {**shapes, **pooling_of(spec).shapes(spec)}

    def draw(self, name: str, shape: tuple[int, ...], spec: StudentSpec, rng: np.random.Generator) -> np.ndarray:
        """Uniform within +-1/sqrt(units), as in Paddle's own recurrent layers."""
        return rng.uniform(-1, 1, shape) / np.sqrt(spec.hidden_size)

    def layer(self, spec: StudentSpec, dropout: float, training: bool) -> nn.Layer:
        side_by_side = training and operators_at_once(spec, dropout) > 1
        return (_SideBySide if side_by_side else _OneOperator)(self, spec, dropout)

    def add_nodes(self, graph: Graph, weights: Weights, spec: StudentSpec, embedded: str, lengths: str) -> str:
        states = self.add_layer(graph, weights, f"{self.prefix}.0", embedded, lengths, spec.hidden_size)
        for layer in range(1, spec.num_layers):
            inputs = states_by_place(graph, f"between.{layer}", states)
            states = self.add_layer(graph, weights, f"{self.prefix}.{layer}", inputs, lengths, spec.hidden_size)
        return pooling_of(spec).add_nodes(graph, weights, states, lengths)

    def add_bias(self, graph: Graph, weights: Weights, name: str) -> str:
        """Add both biases of both directions as ONNX has them, ``[2, 2 * gates * units]``."""
        arrays = [np.concatenate([in_onnx_order(bias_ih, self.onnx_gates), in_onnx_order(bias_hh, self.onnx_gates)])
                  for bias_ih, bias_hh in zip(directions_of(weights, name, "bias_ih"),
                                              directions_of(weights, name, "bias_hh"))]
        return graph.constant(f"{name}.bias", stacked(arrays))


def operators_at_once(spec: StudentSpec, dropout: float) -> int:
    """Return how many operators run at the same time in training: one a direction, or one for all layers where that
    alone will do: for pooling of both directions' states, and for dropout between layers.
    """
    return 1 if pooling_of(spec).joint or (dropout and spec.num_layers > 1) else len(DIRECTIONS)


class _OneOperator(nn.Layer):
    """All layers as one Paddle operator, the form that inference models have.

    Source: PaddleNLP's tutorial "from BERT to Bi-LSTM", step 2.
    """

    def __init__(self, kind: RecurrentEncoder, spec: StudentSpec, dropout: float):
        super().__init__()
        self._kind, self._spec = kind, spec
        self.rnn = kind.cell(spec.embed_dim, spec.hidden_size, spec.num_layers, "bidirectional",
                             dropout=dropout if spec.num_layers > 1 else 0.0)
        self.pooling = pooling_of(spec).layer(spec)

    def forward(self, rows, lengths, embed):
        """Map token rows to the pooled states of both directions.

        Args:
            rows: int64 ``[batch, length]``.
            lengths: int32 ``[batch]``.
            embed: function from rows of any shape to their embeddings, one axis more.

        Returns:
            float32 ``[batch, features]``.
        """
        states, last = self.rnn(embed(rows), sequence_length=lengths)
        last = last[0] if isinstance(last, tuple) else last  # an LSTM's cells beside them
        pooled = [last[-2], last[-1]]
        if self.pooling is not None:
            pooled.append(self.pooling(paddle.transpose(states, (1, 0, 2)), lengths))
        return paddle.concat(pooled, axis=1)

    def embedded_shape(self, batch: int, length: int) -> tuple[int, ...]:
        """Return the shape of the embeddings of a batch."""
        return batch, length, self._spec.embed_dim

    def weight_names(self) -> dict[str, str]:
        """Return the name of each weight's Paddle parameter, by the weight's own name."""
        names = {f"{self._kind.prefix}.{layer}.{direction}.{part}": self._parameter(layer, direction, part).name
                 for layer in range(self._spec.num_layers) for direction in DIRECTIONS for part in _PARTS}
        for name, parameter in ([] if self.pooling is None else self.pooling.named_parameters()):
            names[f"{self._spec.pooling}.{name}"] = parameter.name
        return names

    def _parameter(self, layer: int, direction: str, part: str):
        return getattr(self.rnn, f"{part}_l{layer}{_SUFFIX[direction]}")


class _SideBySide(_OneOperator):
    """The same for training: two operators a layer, which Paddle's executor runs at the same time.

    Paddle's bidirectional operator works through one direction after the other and gains little from a second core;
    side by side, each on half of the cores, the two take about two thirds of the time. They need initial states with
    gradients: the gradients of states without are all called ``@EMPTY@``, and the executor, which takes them for one
    variable, would let one direction wait for the other.

    They run on behind a sentence's end, where nobody looks: to stop there costs the operator a tenth of its time.
    """

    def __init__(self, kind: RecurrentEncoder, spec: StudentSpec, _dropout: float):
        nn.Layer.__init__(self)
        self._kind, self._spec = kind, spec
        self.cells = nn.LayerList([kind.cell(2 * spec.hidden_size if layer else spec.embed_dim, spec.hidden_size,
                                             time_major=True)
                                   for layer in range(spec.num_layers) for _ in DIRECTIONS])
        self.pooling = None  # has no weights

    def forward(self, rows, lengths, embed):
        """As `_OneOperator.forward`."""
        both = paddle.transpose(paddle.stack((rows, _reversed(rows, lengths))), (0, 2, 1))
        embedded = embed(both)
        states = [self._run(cell, embedded[index]) for index, cell in enumerate(self._cells_of(0))]
        for layer in range(1, self._spec.num_layers):
            forward, backward = states
            turned = _turned(backward, lengths), _turned(forward, lengths)
            inputs = paddle.concat((forward, turned[0]), axis=2), paddle.concat((turned[1], backward), axis=2)
            states = [self._run(cell, one) for cell, one in zip(self._cells_of(layer), inputs)]
        pooled = [pooling_of(self._spec).taken(one, lengths) for one in states]
        return paddle.concat([vector for of_both in zip(*pooled) for vector in of_both], axis=1)

    def embedded_shape(self, batch: int, length: int) -> tuple[int, ...]:
        """Return the shape of the embeddings of a batch: forward and backward, time first."""
        return len(DIRECTIONS), length, batch, self._spec.embed_dim

    def _cells_of(self, layer: int) -> list:
        return list(self.cells)[len(DIRECTIONS) * layer:][:len(DIRECTIONS)]

    def _run(self, cell, embedded):
        """Return all states of one direction, ``[length, batch, units]``."""
        shape = (1, paddle.shape(embedded)[1], self._spec.hidden_size)
        first = [paddle.zeros(shape) for _ in range(2 if isinstance(cell, nn.LSTM) else 1)]
        for state in first:
            state.stop_gradient = False
        return cell(embedded, tuple(first) if len(first) > 1 else first[0])[0]

    def _parameter(self, layer: int, direction: str, part: str):
        return getattr(self._cells_of(layer)[DIRECTIONS.index(direction)], f"{part}_l0")


def _reversed(rows, lengths):
    """Turn the first ``lengths`` ids of each row round, as ``[5, 6, 7, 0] -> [7, 6, 5, 5]``; nobody reads the rest."""
    return paddle.take_along_axis(rows, _mirrored(paddle.shape(rows)[1], lengths), axis=1)


def _turned(states, lengths):
    """Turn states ``[length, batch, units]`` round likewise."""
    length, batch = paddle.shape(states)[0], paddle.shape(states)[1]
    rows = paddle.transpose(_mirrored(length, lengths), (1, 0)) * batch
    rows = paddle.add(rows, paddle.arange(batch, dtype="int32"))
    return paddle.reshape(paddle.gather(paddle.flatten(states, 0, 1), paddle.flatten(rows)), paddle.shape(states))


def _mirrored(length, lengths):
    """Return where each place of a turned sentence comes from, int32 ``[batch, length]``."""
    position = paddle.arange(length, dtype="int32")
    return paddle.clip(paddle.subtract(paddle.unsqueeze(lengths, axis=1) - 1, position), min=0)


def directions_of(weights: Weights, name: str, part: str) -> list:
    """Return a layer's weights of one part, forward and backward."""
    return [weights[f"{name}.{direction}.{part}"] for direction in DIRECTIONS]


def in_onnx_order(array: np.ndarray, gates: Sequence[int]) -> np.ndarray:
    """Reorder the blocks along the first axis from Paddle's gates to ONNX's."""
    return np.concatenate([np.split(array, len(gates))[gate] for gate in gates])


def stacked(arrays: Sequence[np.ndarray], gates: Sequence[int] | None = None) -> np.ndarray:
    """Return both directions' arrays as one, their gates reordered if asked for."""
    return np.stack([one if gates is None else in_onnx_order(one, gates) for one in arrays])


def states_by_place(graph: Graph, name: str, states: States) -> str:
    """Return the name of all states with both directions beside each other, ``[length, batch, 2 * units]``."""
    every = states.without_guards(graph, f"{name}.every", states.every, 3)
    return graph.join(name, every, [0, 2, 1, 3], [0, 0, -1])


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

    def layer(self, spec: StudentSpec) -> nn.Layer | None:
        """Return ``layer(states [length, batch, units], lengths [batch]) -> [batch, units]``, or None for nothing."""
        return None

    def places(self, states, lengths) -> list:
        """Return where the states are that it takes of each unit of one direction, int64 ``[1, batch, units]`` each."""
        last = paddle.unsqueeze(paddle.cast(paddle.clip(lengths, min=1), "int64") - 1, axis=[0, 2])
        return [paddle.expand(last, [1, -1, states.shape[2]])]

    def taken(self, states, lengths) -> list:
        """Return the `places` of states ``[length, batch, units]``, ``[batch, units]`` each; those behind a sentence's
        end may be anything.
        """
        places = paddle.concat(self.places(states, lengths))
        return paddle.unstack(paddle.take_along_axis(states, places, axis=0, broadcast=False))

    def add_nodes(self, graph: Graph, weights: Weights, states: States, lengths: str) -> str:
        """Add the ONNX nodes and return the name of ``[batch, vectors * 2 * units]``.

        Args:
            lengths: name of int32 ``[batch]``.
        """
        last = states.without_guards(graph, "last_units", states.last, 2)
        return graph.join("last_states", last, [1, 0, 2], [0, -1])


class MaxPooling(Pooling):
    """Beside the last states the largest of every unit over the sentence.

    Source: max pooling over a Bi-LSTM as in InferSent (Conneau et al. 2017, arXiv 1705.02364), section 3.2.
    """

    vectors = 2

    def layer(self, spec: StudentSpec) -> nn.Layer:
        return _Largest()

    def places(self, states, lengths) -> list:
        lowered = _lowered(states, lengths)
        lowered.stop_gradient = True
        return [*super().places(states, lengths), paddle.argmax(lowered, axis=0, keepdim=True)]

    def add_nodes(self, graph: Graph, weights: Weights, states: States, lengths: str) -> str:
        # the runtime's ReduceMax takes four times as long
        by_unit = graph.add("Transpose", "states_by_unit", [states.counted(graph, lengths)], perm=[1, 2, 3, 0])
        by_unit = graph.add("Unsqueeze", "unit_rows", [graph.add("Flatten", "units", [by_unit], axis=3), graph.axes(1)])
        shape = graph.constant("largest.shape", np.array([len(DIRECTIONS), -1, states.units + states.guards]))
        largest = graph.add("Reshape", "largest", [graph.add("GlobalMaxPool", "unit_peaks", [by_unit]), shape])
        pooled = graph.add("Concat", "last_and_largest", [states.last, largest], axis=0)
        pooled = states.without_guards(graph, "pooled_units", pooled, 2)
        return graph.join("pooled_states", pooled, [1, 0, 2], [0, -1])


class AttentionPooling(Pooling):
    """Beside the last states the mean of all, each weighted by how much it matters.

    Source: Zhou et al. 2016 (ACL, P16-2034), equations 9 to 11: ``softmax(w tanh(H))`` weighs the states H.
    """

    vectors = 2
    joint = True

    def shapes(self, spec: StudentSpec) -> dict[str, tuple[int, ...]]:
        return {f"{ATTENTION}.weight": (2 * spec.hidden_size, 1)}

    def layer(self, spec: StudentSpec) -> nn.Layer:
        return _Attention(2 * spec.hidden_size)

    def add_nodes(self, graph: Graph, weights: Weights, states: States, lengths: str) -> str:
        last = super().add_nodes(graph, weights, states, lengths)
        by_place = states_by_place(graph, "states", states)
        weight = graph.constant(f"{ATTENTION}.weight", weights[f"{ATTENTION}.weight"])
        scores = graph.add("MatMul", "scores", [graph.add("Tanh", "states_tanh", [by_place]), weight])
        counted = graph.add("Where", "counted_scores", [graph.within(states.every, lengths, 3), scores,
                                                        graph.constant("never", np.array(-_NEVER, np.float32))])
        weighted = graph.add("Mul", "weighted_states", [by_place, graph.add("Softmax", "shares", [counted], axis=0)])
        mean = graph.add("ReduceSum", "mean_state", [weighted, graph.axes(0)], keepdims=0)
        return graph.add("Concat", "pooled_states", [last, mean], axis=1)


_POOLINGS = {LAST_STATES: Pooling(), MAX_STATES: MaxPooling(), ATTENTION: AttentionPooling()}


def pooling_of(spec: StudentSpec) -> Pooling:
    """Return the kind of pooling that ``spec.pooling`` names."""
    return _POOLINGS[spec.pooling]


class _Largest(nn.Layer):
    def forward(self, states, lengths):
        return paddle.max(_lowered(states, lengths), axis=0)


class _Attention(nn.Layer):
    def __init__(self, units: int):
        super().__init__()
        self.weight = self.create_parameter((units, 1))

    def forward(self, states, lengths):
        scores = paddle.matmul(paddle.tanh(states), self.weight) + (_within(states, lengths) - 1) * _NEVER
        return paddle.sum(nn.functional.softmax(scores, axis=0) * states, axis=0)


def _lowered(states, lengths):
    """Return states ``[length, batch, units]``, those behind a sentence's end less 2: as all lie between -1 and 1, they
    are never the largest.
    """
    return states + (_within(states, lengths) - 1) * 2


def _within(states, lengths):
    """Return 1 for places within a sentence and 0 behind its end, float32 ``[length, batch, 1]``."""
    place = paddle.unsqueeze(paddle.arange(paddle.shape(states)[0], dtype="int32"), axis=1)
    return paddle.unsqueeze(paddle.cast(place < lengths, "float32"), axis=2)
