"""The tutorial's network, and how it reads the feeds of the BERT that it replaces."""

from __future__ import annotations

from typing import Any, Mapping, Protocol

import numpy as np
import paddle
from paddle import ParamAttr, nn

from ..tokens.framing import IDS, LENGTHS, MASK, TYPES, ZEROS
from .encoders import encoder_named
from .spec import StudentSpec
from .weights import Weights, num_features

TOKEN_MAP = "token_map"


class EncoderLayer(Protocol):
    """The Paddle layer of an encoder (a ``paddle.nn.Layer``), see `student.encoders`."""

    def __call__(self, rows, lengths, embed):
        """Map rows int64 ``[batch, length]`` with lengths int32 ``[batch]`` to vectors ``[batch, features]``.

        ``embed`` turns rows of any shape into embeddings, float32 with one axis more; it is called once.
        """

    def embedded_shape(self, batch: int, length: int) -> tuple[int, ...]:
        """Return the shape of what ``embed`` returns for a batch."""

    def weight_names(self) -> dict[str, str]:
        """Return the name of each weight's Paddle parameter, by the weight's own name."""


BASE = "base"
_OFFSET_RATE = 0.3  # of the learning rate


class ProjectedEmbedding(nn.Layer):
    """The embedding as it is trained: ``base @ projection + offset``, of which the first is fixed.

    The projection is shared by all tokens, so what it learns from those that occur holds for those that don't, and for
    rare ones. The offsets tell tokens apart.
    """

    def __init__(self, rows: int, units: int, embed_dim: int):
        super().__init__()
        block = paddle.static.default_main_program().global_block()
        self.base = block.create_var(name=BASE, shape=[rows, units], dtype="float32", persistable=True,
                                     stop_gradient=True)
        self.projection = self.create_parameter([units, embed_dim], ParamAttr(name="projection"))
        self.weight = self.create_parameter([rows, embed_dim], ParamAttr(name="offsets", learning_rate=_OFFSET_RATE))

    def forward(self, rows):
        projected = nn.functional.linear(nn.functional.embedding(rows, self.base), self.projection)
        return projected + nn.functional.embedding(rows, self.weight)


class StudentNetwork(nn.Layer):
    """Embedding, encoder (a bidirectional LSTM), tanh linear layer on the vector of a sentence, output layer.

    For pairs it is siamese: both sides pass the same embedding and encoder, then are compared (`compare`). With
    ``spec.matches`` each side sees which of its tokens the other has, too.

    Source: PaddleNLP's tutorial "from BERT to Bi-LSTM", step 2, where ``spec.pooling`` is ``last``; for pairs Tang et
    al. 2019 (arXiv 1903.12136), 3.1.

    Every program that builds it under a fresh ``paddle.utils.unique_name.guard()`` uses the same parameter names,
    so programs that run in one scope share their weights; but for the embedding where ``base_units`` are given, that
    of a `ProjectedEmbedding`.

    With ``hint_units`` it can tell the teacher's `hints`, too, which matters in training alone (`hints_of`).
    """

    def __init__(self, spec: StudentSpec, rows: int, dropout: float = 0.0, training: bool = False,
                 base_units: int | None = None, hint_units: int = 0):
        super().__init__()
        self.embedder = (nn.Embedding(rows, spec.table_units) if base_units is None else
                         ProjectedEmbedding(rows, base_units, spec.table_units))
        self.encoder = encoder_named(spec.encoder).layer(spec, dropout, training)
        self.pairs, self.matches, self.dropout = spec.pairs, spec.matches, dropout
        self.fc = nn.Linear(num_features(spec), spec.hidden_size)
        self.output_layer = nn.Linear(spec.hidden_size, spec.num_classes)
        if hint_units:
            zeros = nn.initializer.Constant(0.0)  # the same in all ranks
            self.hint_layer = nn.Linear(num_features(spec), hint_units, ParamAttr(initializer=zeros))

    def forward(self, rows, lengths, kept=None):
        """Map rows int64 ``[batch, length]`` with lengths int32 ``[batch]`` to logits ``[batch, classes]``.

        For pairs both have ``2 * batch`` entries, all first sides before all second sides; a side may be empty.
        ``kept`` is what dropout leaves of the embeddings, uint8 of `embedded_shape`, 0 where a unit is dropped.
        """
        return self.logits_of(self.features(rows, lengths, kept))

    def logits_of(self, features):
        """Map what `features` returns to logits ``[batch, classes]``."""
        return self.output_layer(paddle.tanh(self.fc(features)))

    def hints_of(self, features):
        """Map what `features` returns to hints ``[batch, units]``.

        By a linear layer, as in FitNets (arXiv 1412.6550), section 2.1.
        """
        return self.hint_layer(features)

    def features(self, rows, lengths, kept=None, occurring=None):
        """Map the arguments of `forward` to the encoder's vectors ``[batch, features]``, of pairs compared.

        With ``occurring``, different rows of the embedding, int64 ``[n]``, ``rows`` are places in it: each row that a
        batch needs is made once, which is less work where it is a `ProjectedEmbedding`.
        """
        table = None if occurring is None else self.embedder(occurring)

        def look_up(ids):
            return self.embedder(ids) if table is None else paddle.gather_nd(table, paddle.unsqueeze(ids, axis=-1))

        def embed(ids):
            embedded = self._embedded_with_matches(ids, look_up) if self.matches else look_up(ids)
            if kept is None:
                return embedded
            return embedded * paddle.scale(paddle.cast(kept, "float32"), 1 / (1 - self.dropout))

        if not self.pairs:
            return self.encoder(rows, lengths, embed)
        if self.matches:
            rows = mark_matches(rows, lengths)
        vectors = self.encoder(rows, paddle.clip(lengths, min=1), embed)
        not_empty = paddle.cast(lengths > 0, "float32")
        return compare(*paddle.split(vectors * paddle.unsqueeze(not_empty, axis=1), 2))

    def _embedded_with_matches(self, rows, look_up):
        """Look up rows that `mark_matches` has marked, and put what it found before them."""
        matched = paddle.cast(rows >= _MATCHED, "int64")
        embedded = look_up(rows - matched * _MATCHED)
        unit = paddle.unsqueeze(paddle.cast(matched, "float32"), axis=-1)
        unit.stop_gradient = True  # or who trains the inference model would ask whole numbers for theirs
        return paddle.concat((unit, embedded), axis=-1)

    def embedded_shape(self, batch: int, length: int) -> tuple[int, ...]:
        """Return the shape of the embeddings of a batch, and of what dropout keeps of them."""
        return self.encoder.embedded_shape(batch, length)

    def weight_names(self) -> dict[str, str]:
        """Return the name of each weight's Paddle parameter, by the weight's own name."""
        return {"embedding": self.embedder.weight.name, **self.encoder.weight_names(),
                "hidden.weight": self.fc.weight.name, "hidden.bias": self.fc.bias.name,
                "output.weight": self.output_layer.weight.name, "output.bias": self.output_layer.bias.name}


def kept_units(shape: tuple[int, ...], dropout: float, rng: np.random.Generator) -> np.ndarray:
    """Draw which units dropout keeps, uint8 of ``shape``: ten times faster than Paddle's operator on a CPU."""
    draws = np.frombuffer(rng.bytes(2 * int(np.prod(shape))), np.uint16)
    return (draws >= round(dropout * (1 << 16))).view(np.uint8).reshape(shape)


_MATCHED = 1 << 30  # more than any table has rows


def mark_matches(rows, lengths):
    """Add `_MATCHED` to the rows of tokens that occur on the pair's other side, too.

    Args:
        rows: int64 ``[2 * batch, length]``, all first sides before all second sides.
        lengths: int32 ``[2 * batch]``; what is behind a side's end matches nothing.

    Source: the exact match of Chen et al. 2017 (arXiv 1704.00051), section 3.2.
    """
    others, of_others = (paddle.concat(paddle.split(one, 2)[::-1]) for one in (rows, lengths))
    place = paddle.unsqueeze(paddle.arange(paddle.shape(rows)[1], dtype="int32"), axis=0)
    within = paddle.cast(place < paddle.unsqueeze(of_others, axis=1), "int64")
    others = others * within + (within - 1)  # -1, which no row is, behind the end
    matched = paddle.any(paddle.unsqueeze(rows, axis=2) == paddle.unsqueeze(others, axis=1), axis=2)
    return rows + paddle.cast(matched, "int64") * _MATCHED


def compare(first, second):
    """Return ``[first, second, |first - second|, first * second]`` of the sides' pooled states ``[batch, units]``.

    Source: the "concatenate-compare" of Tang et al. 2019, section 3.1 (PaddleNLP's code has the sum in place of the
    product). So swapped sides swap the first two blocks and leave the others.
    """
    return paddle.concat((first, second, paddle.abs(first - second), first * second), axis=1)


def student_feeds(spec: StudentSpec) -> list:
    """Return the feeds of an exported student as variables of the current program, in the order of ``spec.feeds``."""
    return [paddle.static.data(feed.name, [-1] if feed.role == LENGTHS else [-1, spec.width or -1], feed.dtype)
            for feed in spec.feeds]


def token_map_variable(vocabulary_size: int):
    """Return the current program's table from token ids to embedding rows, int32 ``[vocabulary_size]``, `TOKEN_MAP`."""
    return paddle.static.default_main_program().global_block().create_var(
        name=TOKEN_MAP, shape=[vocabulary_size], dtype="int32", persistable=True, stop_gradient=True)


def rows_of_feeds(spec: StudentSpec, token_map, value: Mapping[str, Any]) -> tuple:
    """Return what `StudentNetwork` reads of a student's feeds: rows of its embedding, and lengths.

    A student of words is fed with them. Others answer the very feeds of the BERT that they replace: they read what
    stands between ``[CLS]`` and ``[SEP]``, skip the first token and take ``tokens - 2`` tokens after it (at least one);
    what is no padding the mask says or, without one, the id. For pairs see `_sides`.

    Args:
        token_map: int32 ``[vocabulary]``, or None for a student of words.
        value: the feeds by role, ``[batch, length]`` (lengths ``[batch]``).

    Returns:
        rows int64 ``[n, length]`` and lengths int32 ``[n]``; n is the batch, or twice that for pairs.
    """
    if spec.reads_words:
        return value[IDS], paddle.clip(paddle.cast(value[LENGTHS], "int32"), min=1)
    ids = value[IDS] if value[IDS].dtype == paddle.int64 else paddle.cast(value[IDS], "int64")
    not_padding = paddle.cast(value[MASK], "float32") != 0 if MASK in value else ids != spec.pad_id
    not_padding = paddle.cast(not_padding, "int32")
    for role in (ZEROS,) if spec.pairs else (ZEROS, TYPES):
        if role in value:
            # Paddle drops a feed that no output depends on; the types, worth nothing here, stay by being added as zero.
            not_padding = paddle.add(not_padding, paddle.cast(value[role], "int32") * 0)
    if spec.pairs:
        tokens, lengths = _sides(spec, ids, value.get(TYPES), not_padding)
    else:
        kept = paddle.sum(not_padding, axis=1, dtype="int32")
        tokens, lengths = ids[:, 1:], paddle.clip(kept - 2, min=1)
    return paddle.cast(paddle.gather_nd(token_map, paddle.unsqueeze(tokens, axis=-1)), "int64"), lengths


def logits_of_feeds(network: StudentNetwork, spec: StudentSpec, vocabulary_size: int, feeds: list):
    """Return the logits ``[batch, classes]`` of an exported student, from what `student_feeds` returned."""
    token_map = None if spec.reads_words else token_map_variable(vocabulary_size)
    return network(*rows_of_feeds(spec, token_map, {feed.role: one for feed, one in zip(spec.feeds, feeds)}))


def _sides(spec: StudentSpec, ids, types, not_padding) -> tuple:
    """Split ``[CLS] first [SEP] second [SEP] padding`` by its types, 0 up to the first ``[SEP]``, then 1.

    Without types the first ``[SEP]`` tells where.

    Returns:
        tokens int64 ``[2 * batch, longest side]``, all first sides before all second sides, with anything behind a
        side's end, and their lengths int32 ``[2 * batch]``, 0 for an empty side.
    """
    used = paddle.sum(not_padding, axis=1, dtype="int32")
    if types is None:
        first_separator = paddle.argmax(paddle.cast(ids == spec.sep_id, "int32"), axis=1, dtype="int32")
        second_start = first_separator + spec.separators
    else:
        second_start = used - paddle.sum(not_padding * paddle.cast(types != 0, "int32"), axis=1, dtype="int32")
    lengths = paddle.concat((second_start - 1 - spec.separators, used - second_start - 1))
    lengths = paddle.clip(lengths, min=0)
    steps = paddle.arange(paddle.clip(paddle.max(lengths), min=1), dtype="int32")
    starts = paddle.concat((paddle.ones_like(used), second_start))
    last = paddle.cast(paddle.shape(ids)[1], "int32") - 1  # a shape is int64 in Paddle 3's dynamic mode
    places = paddle.minimum(paddle.unsqueeze(starts, axis=1) + steps, last)
    both = paddle.concat((ids, ids))
    return paddle.take_along_axis(both, paddle.cast(places, "int64"), axis=1), lengths


def read_weights(scope: paddle.static.Scope, names: dict[str, str]) -> Weights:
    """Copy the weights out of ``scope``."""
    return {name: np.array(scope.find_var(parameter).get_tensor()) for name, parameter in names.items()}


def write_weights(scope: paddle.static.Scope, names: dict[str, str], weights: Weights, place) -> None:
    """Set the parameters in ``scope`` to ``weights``."""
    for name, parameter in names.items():
        scope.var(parameter).get_tensor().set(weights[name], place)
