"""The tutorial's network, built into a Paddle static program."""

from __future__ import annotations

import numpy as np
import paddle
from paddle import nn

from .encoder import Encoder, TrainingEncoder
from .spec import StudentSpec
from .weights import Weights

TOKEN_MAP = "token_map"


class BiLSTMClassifier(nn.Layer):
    """Embedding, bidirectional LSTM, tanh linear layer on its pooled states, output layer.

    For pairs it is siamese: both sides pass the same embedding and LSTM, then are compared (`compare`).

    Source: PaddleNLP's tutorial "from BERT to Bi-LSTM", step 2, where ``spec.pooling`` is ``last``; for pairs Tang et
    al. 2019 (arXiv 1903.12136), 3.1.

    Every program that builds it under a fresh ``paddle.utils.unique_name.guard()`` uses the same parameter names,
    so programs that run in one scope share their weights.
    """

    def __init__(self, spec: StudentSpec, rows: int, dropout: float = 0.0, training: bool = False):
        super().__init__()
        encoder = TrainingEncoder if training and spec.num_layers == 1 else Encoder
        self.encoder = encoder(spec, rows, dropout)
        self.pairs = spec.pairs
        self.fc = nn.Linear(spec.num_features, spec.hidden_size)
        self.output_layer = nn.Linear(spec.hidden_size, spec.num_classes)

    def forward(self, rows, lengths, kept=None):
        """Map rows int64 ``[batch, length]`` with lengths int32 ``[batch]`` to logits ``[batch, classes]``.

        For pairs both have ``2 * batch`` entries, all first sides before all second sides; a side may be empty.
        ``kept`` is what dropout leaves of the embeddings, see `Encoder.forward`.
        """
        return self.output_layer(paddle.tanh(self.fc(self._features(rows, lengths, kept))))

    def _features(self, rows, lengths, kept):
        if not self.pairs:
            return self.encoder(rows, lengths, kept)
        states = self.encoder(rows, paddle.clip(lengths, min=1), kept)
        not_empty = paddle.cast(lengths > 0, "float32")
        return compare(*paddle.split(states * paddle.unsqueeze(not_empty, axis=1), 2))

    def embedded_shape(self, batch: int, length: int) -> tuple[int, ...]:
        """Return the shape of the embeddings of a batch, and of what dropout keeps of them."""
        return self.encoder.embedded_shape(batch, length)

    def weight_names(self) -> dict[str, str]:
        """Return the name of each weight's Paddle parameter, by the weight's own name."""
        return {**self.encoder.weight_names(),
                "hidden.weight": self.fc.weight.name, "hidden.bias": self.fc.bias.name,
                "output.weight": self.output_layer.weight.name, "output.bias": self.output_layer.bias.name}


def compare(first, second):
    """Return ``[first, second, |first - second|, first * second]`` of the sides' pooled states ``[batch, units]``.

    Source: the "concatenate-compare" of Tang et al. 2019, section 3.1 (PaddleNLP's code has the sum in place of the
    product). So swapped sides swap the first two blocks and leave the others.
    """
    return paddle.concat((first, second, paddle.abs(first - second), first * second), axis=1)


def student_feeds(spec: StudentSpec) -> list:
    """Return the feeds of an exported student as variables of the current program, int64 each."""
    shapes = ([-1, -1], [-1]) if spec.reads_words else ([-1, -1], [-1, -1])
    return [paddle.static.data(name, shape, "int64") for name, shape in zip(spec.feed_names, shapes)]


def logits_of_feeds(network: BiLSTMClassifier, spec: StudentSpec, vocabulary_size: int, feeds: list):
    """Return the logits ``[batch, classes]`` of an exported student, from what `student_feeds` returned.

    A student of words reads rows of its embedding, ``word_ids`` ``[batch, length]``, of which the first ``lengths``
    ``[batch]`` (at least one) count; others see `drop_in_logits`.
    """
    if not spec.reads_words:
        return drop_in_logits(network, spec, vocabulary_size, *feeds)
    word_ids, lengths = feeds
    return network(word_ids, paddle.clip(paddle.cast(lengths, "int32"), min=1))


def drop_in_logits(network: BiLSTMClassifier, spec: StudentSpec, vocabulary_size: int, input_ids, token_type_ids):
    """Answer the very feeds of the BERT that the student replaces.

    The student reads what stands between ``[CLS]`` and ``[SEP]``: it skips the first token and takes
    ``non-padding tokens - 2`` tokens after it (at least one). For pairs see `_sides`.

    Args:
        input_ids, token_type_ids: int64 variables ``[batch, length]``, padded with ``spec.pad_id``.

    Returns:
        Logits, float32 ``[batch, classes]``.
    """
    token_map = paddle.static.default_main_program().global_block().create_var(
        name=TOKEN_MAP, shape=[vocabulary_size], dtype="int32", persistable=True, stop_gradient=True)
    not_padding = paddle.cast(input_ids != spec.pad_id, "int32")
    if spec.pairs:
        tokens, lengths = _sides(input_ids, token_type_ids, not_padding)
        return network(paddle.cast(paddle.gather_nd(token_map, paddle.unsqueeze(tokens, axis=-1)), "int64"), lengths)
    # Paddle drops a feed that no output depends on; the segment ids, worth nothing here, stay by being added as zero.
    nothing = paddle.cast(token_type_ids, "int32") * 0
    kept = paddle.sum(paddle.add(not_padding, nothing), axis=1, dtype="int32")
    lengths = paddle.clip(kept - 2, min=1)
    rows = paddle.gather_nd(token_map, paddle.unsqueeze(input_ids[:, 1:], axis=-1))
    return network(paddle.cast(rows, "int64"), lengths)


def _sides(input_ids, token_type_ids, not_padding):
    """Split ``[CLS] first [SEP] second [SEP] padding`` by its types: 0 up to the first ``[SEP]``, then 1.

    Returns:
        tokens int64 ``[2 * batch, longest side]``, all first sides before all second sides, with anything behind a
        side's end, and their lengths int32 ``[2 * batch]``, 0 for an empty side.
    """
    used = paddle.sum(not_padding, axis=1, dtype="int32")
    of_second = paddle.sum(not_padding * paddle.cast(token_type_ids != 0, "int32"), axis=1, dtype="int32")
    second_start = used - of_second
    lengths = paddle.clip(paddle.concat((second_start - 2, of_second - 1)), min=0)
    steps = paddle.arange(paddle.clip(paddle.max(lengths), min=1), dtype="int32")
    starts = paddle.concat((paddle.ones_like(used), second_start))
    places = paddle.minimum(paddle.unsqueeze(starts, axis=1) + steps, paddle.shape(input_ids)[1] - 1)
    both = paddle.concat((input_ids, input_ids))
    return paddle.take_along_axis(both, paddle.cast(places, "int64"), axis=1), lengths


def read_weights(scope: paddle.static.Scope, names: dict[str, str]) -> Weights:
    """Copy the weights out of ``scope``."""
    return {name: np.array(scope.find_var(parameter).get_tensor()) for name, parameter in names.items()}


def write_weights(scope: paddle.static.Scope, names: dict[str, str], weights: Weights, place) -> None:
    """Set the parameters in ``scope`` to ``weights``."""
    for name, parameter in names.items():
        scope.var(parameter).get_tensor().set(weights[name], place)
