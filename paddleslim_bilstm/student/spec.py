"""What a student looks like."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class StudentSpec:
    """The sizes of a Bi-LSTM student and what it answers.

    Attributes:
        embed_dim: units of the embedding.
        hidden_size: units of the LSTM in each direction, and of the tanh layer behind it.
        num_layers: stacked bidirectional LSTM layers.
        label_names: the classes, in the order of the logits; one name for the one output of a regression.
        pad_id: the token id that pads a batch.
        max_seq_length: tokens of the longest input, ``[CLS]`` and ``[SEP]`` counted.
        pairs: reads pairs of sentences.
    """

    embed_dim: int
    hidden_size: int
    num_layers: int
    label_names: tuple[str, ...]
    pad_id: int
    max_seq_length: int
    pairs: bool = False

    @property
    def num_classes(self) -> int:
        return len(self.label_names)

    @property
    def num_features(self) -> int:
        """What the tanh layer sees: the last states of both directions; of a pair those of both sides, compared."""
        return (8 if self.pairs else 2) * self.hidden_size
