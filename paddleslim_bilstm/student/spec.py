"""What a student looks like (needs neither Paddle nor ONNX)."""

from __future__ import annotations

from dataclasses import dataclass

from ..task import Task, task_named, task_of_outputs
from ..tokens.framing import BERT_FEEDS, IDS, LENGTHS, Feed

WORD_FEEDS = (Feed("word_ids", IDS), Feed("lengths", LENGTHS))
TEACHER_TOKENS = "teacher"
VOCABULARIES = (TEACHER_TOKENS, "words", "jieba")
LAST_STATES, MAX_STATES, ATTENTION = POOLINGS = ("last", "max", "attention")


@dataclass(frozen=True)
class StudentSpec:
    """The sizes of a student and what it answers.

    Attributes:
        embed_dim: units of the embedding.
        hidden_size: units of the encoder in each direction, and of the tanh layer behind it.
        num_layers: stacked bidirectional layers.
        label_names: of the outputs, in the order of the logits.
        pad_id: the token id that pads a batch.
        max_seq_length: tokens of the longest input, ``[CLS]`` and ``[SEP]`` counted.
        pairs: reads pairs of sentences.
        vocabulary: what it reads: the ``teacher``'s tokens in the teacher's feeds, ``words``, or words of which
            ``jieba`` cuts the Chinese ones.
        pooling: what the tanh layer sees of the encoder: the ``last`` states of both directions, as in the paper, or
            beside them the ``max`` of every unit over the sentence, or the mean that ``attention`` weighs.
        feeds: its inputs, in order: those of the BERT that it replaces, or `WORD_FEEDS`.
        width: the length of every batch, where the BERT that it replaces has a fixed one.
        sep_id, separators: what stands between the sides of a pair, and how often; needed where no feed holds types.
        encoder: the kind of student, a name of `student.encoders`.
        task_name: of what it does, where the number of its outputs doesn't tell.
        thresholds: probabilities above which its outputs are answered, of a task that has them.
    """

    embed_dim: int
    hidden_size: int
    num_layers: int
    label_names: tuple[str, ...]
    pad_id: int
    max_seq_length: int
    pairs: bool = False
    vocabulary: str = TEACHER_TOKENS
    pooling: str = LAST_STATES
    feeds: tuple[Feed, ...] = BERT_FEEDS
    width: int | None = None
    sep_id: int | None = None
    separators: int = 1
    encoder: str = "bilstm"
    task_name: str | None = None
    thresholds: tuple[float, ...] = ()

    @property
    def num_classes(self) -> int:
        return len(self.label_names)

    @property
    def task(self) -> Task:
        task = task_named(self.task_name) if self.task_name else task_of_outputs(self.num_classes)
        return task.with_thresholds(self.thresholds) if self.thresholds else task

    @property
    def reads_words(self) -> bool:
        return self.vocabulary != TEACHER_TOKENS
