"""Embedding and Bi-LSTM: token rows in, the two directions' pooled states out."""

from __future__ import annotations

import numpy as np
import paddle
from paddle import nn

from .spec import MAX_STATES, StudentSpec
from .weights import DIRECTIONS, LSTM_PARTS

_SUFFIX = {"forward": "", "backward": "_reverse"}


class Encoder(nn.Layer):
    """Embedding and Bi-LSTM as one Paddle operator, the form that inference models have.

    Source: PaddleNLP's tutorial "from BERT to Bi-LSTM", step 2.
    """

    def __init__(self, spec: StudentSpec, rows: int, dropout: float = 0.0):
        super().__init__()
        self.spec = spec
        self.dropout = dropout
        self.embedder = nn.Embedding(rows, spec.embed_dim)
        self._build_lstm()

    def _build_lstm(self) -> None:
        layers = self.spec.num_layers
        self.lstm = nn.LSTM(self.spec.embed_dim, self.spec.hidden_size, layers, "bidirectional",
                            dropout=self.dropout if layers > 1 else 0.0)

    def forward(self, rows, lengths, kept=None):
        """Map token rows to the last states of both directions and, if asked for, the largest of each unit.

        Args:
            rows: int64 ``[batch, length]``.
            lengths: int32 ``[batch]``.
            kept: uint8 of `embedded_shape`, 0 where an embedding's unit is dropped; None to drop nothing.

        Returns:
            float32 ``[batch, 2 * hidden]``, or ``[batch, 4 * hidden]`` with the largest.
        """
        states, (hidden, _) = self.lstm(self._drop(self.embedder(rows), kept), sequence_length=lengths)
        pooled = [hidden[-2], hidden[-1]]
        if self.spec.pooling == MAX_STATES:
            pooled.append(largest_states(paddle.transpose(states, (1, 0, 2)), lengths))
        return paddle.concat(pooled, axis=1)

    def embedded_shape(self, batch: int, length: int) -> tuple[int, ...]:
        """Return the shape of the embeddings of a batch."""
        return batch, length, self.spec.embed_dim

    def _drop(self, embedded, kept):
        if kept is None:
            return embedded
        return embedded * paddle.scale(paddle.cast(kept, "float32"), 1 / (1 - self.dropout))

    def weight_names(self) -> dict[str, str]:
        """Return the name of each weight's Paddle parameter, by the weight's own name."""
        names = {"embedding": self.embedder.weight.name}
        for layer in range(self.spec.num_layers):
            for direction in DIRECTIONS:
                for part in LSTM_PARTS:
                    names[f"lstm.{layer}.{direction}.{part}"] = self._lstm_parameter(layer, direction, part).name
        return names

    def _lstm_parameter(self, layer: int, direction: str, part: str):
        return getattr(self.lstm, f"{part}_l{layer}{_SUFFIX[direction]}")


class TrainingEncoder(Encoder):
    """The same for training one layer: two operators, which Paddle's executor runs at the same time.

    Paddle's bidirectional operator works through one direction after the other and gains little from a second core;
    side by side, each on half of the cores, the two take about two thirds of the time. They need initial states with
    gradients: the gradients of states without are all called ``@EMPTY@``, and the executor, which takes them for one
    variable, would let one direction wait for the other.
    """

    def _build_lstm(self) -> None:
        sizes = self.spec.embed_dim, self.spec.hidden_size
        self.directions = nn.LayerList([nn.LSTM(*sizes, time_major=True) for _ in DIRECTIONS])

    def forward(self, rows, lengths, kept=None):
        """As `Encoder.forward`."""
        both = paddle.transpose(paddle.stack((rows, _reversed(rows, lengths))), (0, 2, 1))
        embedded = self._drop(self.embedder(both), kept)
        runs = [self._run(lstm, embedded[index], lengths) for index, lstm in enumerate(self.directions)]
        pooled = [last for _, last in runs]
        if self.spec.pooling == MAX_STATES:
            pooled += [largest_states(states, lengths, by_place=True) for states, _ in runs]
        return paddle.concat(pooled, axis=1)

    def embedded_shape(self, batch: int, length: int) -> tuple[int, ...]:
        """Return the shape of the embeddings of a batch: forward and backward, time first."""
        return len(DIRECTIONS), length, batch, self.spec.embed_dim

    def _run(self, lstm: nn.LSTM, embedded, lengths) -> tuple:
        """Return all states of one direction ``[length, batch, hidden]`` and the last ones ``[batch, hidden]``."""
        shape = (1, paddle.shape(embedded)[1], self.spec.hidden_size)
        states = (paddle.zeros(shape), paddle.zeros(shape))
        for state in states:
            state.stop_gradient = False
        outputs, (last, _) = lstm(embedded, states, lengths)
        return outputs, last[0]

    def _lstm_parameter(self, layer: int, direction: str, part: str):
        return getattr(self.directions[DIRECTIONS.index(direction)], f"{part}_l0")


def largest_states(states, lengths, by_place: bool = False):
    """Return each unit's largest state over a sentence: ``[length, batch, units]`` -> ``[batch, units]``.

    Source: max pooling over a Bi-LSTM as in InferSent (Conneau et al. 2017, arXiv 1705.02364), section 3.2. States lie
    between -1 and 1, so those behind a sentence's end, less 2, are never the largest.

    Args:
        lengths: int32 ``[batch]``.
        by_place: look up where the largest is and take it from there: the same, with a gradient that takes a sixteenth
            of the time.
    """
    place = paddle.unsqueeze(paddle.arange(paddle.shape(states)[0], dtype="int32"), axis=1)
    within = paddle.unsqueeze(paddle.cast(place < lengths, "float32"), axis=2)
    lowered = states + (within - 1) * 2
    if not by_place:
        return paddle.max(lowered, axis=0)
    lowered.stop_gradient = True
    largest = paddle.argmax(lowered, axis=0, keepdim=True)
    return paddle.squeeze(paddle.take_along_axis(states, largest, axis=0), axis=0)


def _reversed(rows, lengths):
    """Turn the first ``lengths`` ids of each row round, as ``[5, 6, 7, 0] -> [7, 6, 5, 5]``; nobody reads the rest."""
    position = paddle.arange(paddle.shape(rows)[1], dtype="int32")
    mirrored = paddle.subtract(paddle.unsqueeze(lengths, axis=1) - 1, position)
    return paddle.take_along_axis(rows, paddle.clip(mirrored, min=0), axis=1)


def kept_units(shape: tuple[int, ...], dropout: float, rng: np.random.Generator) -> np.ndarray:
    """Draw which units dropout keeps, uint8 of ``shape``: ten times faster than Paddle's operator on a CPU."""
    draws = np.frombuffer(rng.bytes(2 * int(np.prod(shape))), np.uint16)
    return (draws >= round(dropout * (1 << 16))).view(np.uint8).reshape(shape)
