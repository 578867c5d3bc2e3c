"""Embedding and Bi-LSTM: token rows in, the two directions' last states out."""

from __future__ import annotations

import numpy as np
import paddle
from paddle import nn

from .spec import StudentSpec
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
        """Map token rows to the last states of both directions.

        Args:
            rows: int64 ``[batch, length]``.
            lengths: int32 ``[batch]``.
            kept: uint8 of `embedded_shape`, 0 where an embedding's unit is dropped; None to drop nothing.

        Returns:
            float32 ``[batch, 2 * hidden]``.
        """
        _, (hidden, _) = self.lstm(self._drop(self.embedder(rows), kept), sequence_length=lengths)
        return paddle.concat((hidden[-2], hidden[-1]), axis=1)

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
        return paddle.concat([self._last_state(lstm, embedded[index], lengths)
                              for index, lstm in enumerate(self.directions)], axis=1)

    def embedded_shape(self, batch: int, length: int) -> tuple[int, ...]:
        """Return the shape of the embeddings of a batch: forward and backward, time first."""
        return len(DIRECTIONS), length, batch, self.spec.embed_dim

    def _last_state(self, lstm: nn.LSTM, embedded, lengths):
        shape = (1, paddle.shape(embedded)[1], self.spec.hidden_size)
        states = (paddle.zeros(shape), paddle.zeros(shape))
        for state in states:
            state.stop_gradient = False
        return lstm(embedded, states, lengths)[1][0][0]

    def _lstm_parameter(self, layer: int, direction: str, part: str):
        return getattr(self.directions[DIRECTIONS.index(direction)], f"{part}_l0")


def _reversed(rows, lengths):
    """Turn the first ``lengths`` ids of each row round, as ``[5, 6, 7, 0] -> [7, 6, 5, 5]``; nobody reads the rest."""
    position = paddle.arange(paddle.shape(rows)[1], dtype="int32")
    mirrored = paddle.subtract(paddle.unsqueeze(lengths, axis=1) - 1, position)
    return paddle.take_along_axis(rows, paddle.clip(mirrored, min=0), axis=1)


def kept_units(shape: tuple[int, ...], dropout: float, rng: np.random.Generator) -> np.ndarray:
    """Draw which units dropout keeps, uint8 of ``shape``: ten times faster than Paddle's operator on a CPU."""
    draws = np.frombuffer(rng.bytes(2 * int(np.prod(shape))), np.uint16)
    return (draws >= round(dropout * (1 << 16))).view(np.uint8).reshape(shape)
