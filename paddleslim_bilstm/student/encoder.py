"""Embedding and Bi-LSTM: token rows in, the two directions' last states out."""

from __future__ import annotations

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
        self.embedder = nn.Embedding(rows, spec.embed_dim)
        self.dropout = nn.Dropout(dropout) if dropout else nn.Identity()
        self._build_lstm(dropout)

    def _build_lstm(self, dropout: float) -> None:
        layers = self.spec.num_layers
        self.lstm = nn.LSTM(self.spec.embed_dim, self.spec.hidden_size, layers, "bidirectional",
                            dropout=dropout if layers > 1 else 0.0)

    def forward(self, rows, lengths):
        """Map rows int64 ``[batch, length]`` with lengths int32 ``[batch]`` to float32 ``[batch, 2 * hidden]``."""
        _, (hidden, _) = self.lstm(self.dropout(self.embedder(rows)), sequence_length=lengths)
        return paddle.concat((hidden[-2], hidden[-1]), axis=1)

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

    def _build_lstm(self, dropout: float) -> None:
        sizes = self.spec.embed_dim, self.spec.hidden_size
        self.directions = nn.LayerList([nn.LSTM(*sizes, time_major=True) for _ in DIRECTIONS])

    def forward(self, rows, lengths):
        """Map rows int64 ``[batch, length]`` with lengths int32 ``[batch]`` to float32 ``[batch, 2 * hidden]``."""
        both = paddle.transpose(paddle.stack((rows, _reversed(rows, lengths))), (0, 2, 1))
        embedded = self.dropout(self.embedder(both))
        return paddle.concat([self._last_state(lstm, embedded[index], lengths)
                              for index, lstm in enumerate(self.directions)], axis=1)

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
