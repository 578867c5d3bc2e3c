"""An encoder with its classifier, of any family that `families` knows, in static and dynamic mode."""

from __future__ import annotations

from typing import Callable

import numpy as np
import paddle
import paddle.nn.functional as F
from paddle import nn

from .families import EncoderSpec

_MASKED = -1e4
_ACTIVATIONS = {  # looked up when called: Paddle 3 has other functions for old programs
    "gelu": lambda x: F.gelu(x), "gelu_tanh": lambda x: F.gelu(x, approximate=True), "relu": lambda x: F.relu(x),
    "silu": lambda x: F.silu(x), "tanh": lambda x: paddle.tanh(x), "mish": lambda x: F.mish(x), "linear": lambda x: x,
}


class EncoderClassifier(nn.Layer):
    """Token ids to logits: embeddings, Transformer layers, two linear layers on the first token.

    Padding changes nothing: where there is no mask, it is made from the padding's id. The last layer answers for the
    first token alone, since the classifier reads no other: of that layer only keys and values are computed for all.

    Args:
        pad_id: the id that is no token where no mask is given.
    """

    def __init__(self, spec: EncoderSpec, pad_id: int):
        super().__init__()
        self.spec, self.pad_id = spec, pad_id
        normal = paddle.ParamAttr(initializer=nn.initializer.Normal(std=spec.spread))

        def table(rows: int, units: int = spec.embedding) -> nn.Embedding | None:
            return nn.Embedding(rows, units, weight_attr=normal) if rows else None

        def linear(inputs: int, outputs: int) -> nn.Linear:
            return nn.Linear(inputs, outputs, weight_attr=normal)

        self.word, self.position, self.types, self.task = map(table, (spec.vocab, spec.positions, spec.types,
                                                                      spec.tasks))
        self.norm = nn.LayerNorm(spec.embedding, epsilon=spec.epsilon)
        self.project = linear(spec.embedding, spec.hidden) if spec.projects else None
        self.relative = table(spec.distances, spec.shapes["relative.weight"][1]) if spec.distances else None
        self.relative_norm = nn.LayerNorm(spec.hidden, epsilon=spec.epsilon) if spec.norm_distances else None
        self.layers = nn.LayerList([_Layer(spec, linear) for _ in range(spec.groups * spec.group_size)])
        self.pool, self.classifier = linear(spec.hidden, spec.hidden), linear(spec.hidden, spec.classes)

    def forward(self, input_ids, token_type_ids=None, attention_mask=None):
        """Map int64 ``[batch, length]`` each to logits, float32 ``[batch, classes]``."""
        kept = input_ids != self.pad_id if attention_mask is None else attention_mask
        mask = paddle.unsqueeze((1.0 - paddle.cast(kept, "float32")) * _MASKED, axis=[1, 2])
        length = input_ids.shape[1] if paddle.in_dynamic_mode() else paddle.shape(input_ids)[1]
        hidden = self._embedded(input_ids, token_type_ids, length)
        relation = self._relation(length)
        order = self.spec.order
        for place, number in enumerate(order):
            hidden = self.layers[number](hidden, mask, relation, place == len(order) - 1)
        head = _ACTIVATIONS[self.spec.head_activation]
        pooled = head(self.pool(_dropped(self, hidden[:, 0], self.spec.pool_dropout)))
        return self.classifier(_dropped(self, pooled, self.spec.head_dropout))

    def _embedded(self, ids, types, length):
        spec, embedded = self.spec, self.word(ids)
        if self.position is not None:
            embedded = embedded + self.position(paddle.arange(length, dtype="int64") + spec.first_position)
        if self.types is not None:
            embedded = embedded + (self.types.weight[0] if types is None or spec.types == 1 else self.types(types))
        if self.task is not None:
            embedded = embedded + self.task.weight[spec.task]
        embedded = _dropped(self, self.norm(embedded), spec.hidden_dropout)
        return embedded if self.project is None else self.project(embedded)

    def _relation(self, length) -> Callable | None:
        """Return what attention adds for distances: a function of a layer, its queries, its keys and its scale."""
        spec = self.spec
        if self.relative is None:
            return None
        far = paddle.clip(paddle.arange(1 - length, length, dtype="int64"), -spec.far, spec.far) + spec.far
        rows = paddle.gather(paddle.assign(spec.rows_by_distance()), far)
        if spec.family.relative == "bias":  # [distances, heads] -> [heads, length, length]
            by_distance = paddle.transpose(paddle.gather(self.relative.weight, rows), [1, 0])
            bias = _by_place(paddle.expand(paddle.unsqueeze(by_distance, [0, 2]), [1, spec.heads, length, -1]), length)
            return lambda layer, query, key, first_only: bias[:, :, :1] if first_only else bias
        table = self.relative.weight if self.relative_norm is None else self.relative_norm(self.relative.weight)
        # a row for each distance of a key behind a query, ascending: DeBERTa counts the other way round
        table = paddle.flip(paddle.gather(_dropped(self, table, spec.hidden_dropout), rows), axis=[0])

        def relation(layer: _Layer, query, key, first_only: bool):
            """Content to position, and position to content; the query is scaled already, the key isn't."""
            of_query = layer.split(paddle.unsqueeze(layer.query(table), 0)) * layer.scale
            of_key = layer.split(paddle.unsqueeze(layer.key(table), 0))
            if first_only:
                to_position = paddle.matmul(query, of_key[:, :, length - 1:], transpose_y=True)
                return to_position + paddle.unsqueeze(paddle.sum(key * of_query[:, :, length - 1:], axis=-1), 2)
            to_position = _by_place(paddle.matmul(query, of_key, transpose_y=True), length)
            # of a key, the distance of a query behind it is the other way round again
            to_content = _by_place(paddle.matmul(key, paddle.flip(of_query, axis=[2]), transpose_y=True), length)
            return to_position + paddle.transpose(to_content, [0, 1, 3, 2])

        return relation


class _Layer(nn.Layer):
    """Attention and two linear layers, each with what went in added and normalised."""

    def __init__(self, spec: EncoderSpec, linear: Callable[[int, int], nn.Layer]):
        super().__init__()
        self.spec, self.size = spec, spec.hidden // spec.heads
        parts = 1 if spec.family.relative != "disentangled" else 3  # content to content, to position and from there
        self.scale = (self.size * parts) ** -0.5
        self.query, self.key, self.value, self.attended = (linear(spec.hidden, spec.hidden) for _ in range(4))
        self.inner, self.outer = linear(spec.hidden, spec.inner), linear(spec.inner, spec.hidden)
        self.attended_norm, self.outer_norm = (nn.LayerNorm(spec.hidden, epsilon=spec.epsilon) for _ in range(2))

    def forward(self, x, mask, relation, first_only: bool):
        """Map ``[batch, length, hidden]`` to the same, or to ``[batch, 1, hidden]`` of the first token."""
        read = x[:, :1] if first_only else x
        query, key, value = map(self.split, (self.query(read), self.key(x), self.value(x)))
        query = query * self.scale
        scores = paddle.matmul(query, key, transpose_y=True)
        if relation is not None:
            scores = scores + relation(self, query, key, first_only)
        shares = _dropped(self, F.softmax(scores + mask), self.spec.attention_dropout)
        mixed = paddle.transpose(paddle.matmul(shares, value), [0, 2, 1, 3])
        mixed = self.attended(paddle.reshape(mixed, [0, 0, self.spec.hidden]))
        attended = self.attended_norm(read + _dropped(self, mixed, self.spec.hidden_dropout))
        outer = self.outer(_ACTIVATIONS[self.spec.activation](self.inner(attended)))
        return self.outer_norm(attended + _dropped(self, outer, self.spec.hidden_dropout))

    def split(self, x):
        """``[batch, length, hidden] -> [batch, heads, length, hidden / heads]``."""
        return paddle.transpose(paddle.reshape(x, [0, 0, self.spec.heads, self.size]), [0, 2, 1, 3])


def _dropped(layer: nn.Layer, x, share: float):
    """Return ``x`` with a share of it dropped where ``layer`` is being trained."""
    return F.dropout(x, share, training=True) if layer.training and share else x


def _by_place(by_distance, length):
    """Turn columns from distances ``1 - length`` to ``length - 1`` of a key behind a query into keys.

    ``[batch, heads, length, 2 * length - 1] -> [batch, heads, length, length]``: each row is read from a place one
    further to the left than the row above it, by cutting the flat array in rows that are one shorter.
    """
    heads = by_distance.shape[1]
    flat = paddle.reshape(by_distance, [0, heads, -1])[:, :, length - 1:]
    rows = paddle.reshape(flat[:, :, :length * (2 * length - 2)], [0, heads, length, 2 * length - 2])
    return rows[:, :, :, :length]


def make_encoder(spec: EncoderSpec, pad_id: int, arrays: dict[str, np.ndarray]) -> EncoderClassifier:
    """Return the network in dynamic mode, with ``arrays`` as its weights; those that are left out are random."""
    network = EncoderClassifier(spec, pad_id)
    for name, parameter in network.state_dict().items():
        if name in arrays:
            parameter.set_value(np.ascontiguousarray(arrays[name]))
    return network
