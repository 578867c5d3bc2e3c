"""What a student looks like, and ``student.json``, which says so beside it (needs neither Paddle nor safetensors)."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ..errors import UserError, short
from ..storage import read_json, write_json
from ..task import TASKS, Task, task_named, task_of_outputs
from ..tokens import TOKENIZER_FILES
from ..tokens.framing import BERT_FEEDS, DTYPES, IDS, LENGTHS, ROLES, Feed

WORD_FEEDS = (Feed("word_ids", IDS), Feed("lengths", LENGTHS))
TEACHER_TOKENS = "teacher"
VOCABULARIES = (TEACHER_TOKENS, "words", "jieba")
LAST_STATES, MAX_STATES, ATTENTION = POOLINGS = ("last", "max", "attention")


def can_match(pairs: bool, embed_dim: int) -> bool:
    """Return whether a student may see what its sides have in common: of pairs, with a unit to spare for it."""
    return pairs and embed_dim > 1


@dataclass(frozen=True)
class StudentSpec:
    """The sizes of a student and what it answers.

    Attributes:
        embed_dim: units of what the encoder reads of a token: its embedding, with ``matches`` behind another unit.
        hidden_size: units of the encoder in each direction, and of the tanh layer behind it.
        num_layers: stacked bidirectional layers.
        label_names: of the outputs, in the order of the logits.
        pad_id: the token id that pads a batch.
        max_seq_length: tokens of the longest input, ``[CLS]`` and ``[SEP]`` counted.
        pairs: reads pairs of sentences.
        matches: of pairs: the first unit of a token is 1 where it occurs on the other side, too, and else 0.
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
    matches: bool = False

    @property
    def table_units(self) -> int:
        """Units of a row of the embedding."""
        return self.embed_dim - self.matches

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


SPEC_FILE, WORDS_FILE = "student.json", "words.txt"
ONNX_FILES = ("model.int8.onnx", "model.onnx")  # the first that is there is served
MODEL_NAME = "model"  # of the Paddle model's two files, without suffix, where the teacher's says nothing else
READING_FILES = (*TOKENIZER_FILES, WORDS_FILE)  # by which a student reads texts: those of them that its folder holds
_FORMAT = 1
_LEAST = {"embed_dim": 1, "hidden_size": 1, "num_layers": 1, "pad_id": 0, "max_seq_length": 3}
_OPTIONAL_NUMBERS = {"width": None, "sep_id": None, "separators": 1}
_CHOICES = {"vocabulary": VOCABULARIES, "pooling": POOLINGS}
_OLDEST_ENCODER = "bilstm"


def write_spec(folder: str | Path, spec: StudentSpec) -> None:
    """Write ``student.json`` into ``folder``."""
    values = {"format": _FORMAT, "num_classes": spec.num_classes, **asdict(spec)}
    for name in ("task_name", "thresholds", "matches"):
        if not values[name]:
            del values[name]
    write_json(Path(folder) / SPEC_FILE, values)


def read_spec(folder: str | Path) -> StudentSpec:
    """Read ``student.json`` of ``folder``.

    Raises:
        UserError: the file is missing, isn't JSON, is of another format, or a value is missing or wrong.
    """
    path = Path(folder) / SPEC_FILE
    if not path.is_file():
        raise UserError(f"{path}: no such file; name a folder that `paddleslim-bilstm compress` has written")
    values = read_json(path, "copy the file from the output folder again")
    if values.get("format") != _FORMAT:
        raise UserError(f"{path}: not a student of format {_FORMAT}; use the paddleslim_bilstm that wrote it")
    sizes = {}
    for key, least in _LEAST.items():
        value = values.get(key)
        if type(value) is not int or value < least:
            raise UserError(f"{path}: {key} is {value!r}; it must be a whole number of at least {least}")
        sizes[key] = value
    switches = {key: values.get(key, False) for key in ("pairs", "matches")}  # older folders don't have them
    for key, value in switches.items():
        if not isinstance(value, bool):
            raise UserError(f"{path}: {key} is {value!r}; it must be true or false")
    if switches["matches"] and not can_match(switches["pairs"], sizes["embed_dim"]):
        raise UserError(f"{path}: matches is true, which needs pairs and an embed_dim of at least 2")
    chosen = {key: values.get(key, known[0]) for key, known in _CHOICES.items()}  # older folders don't have them
    for key, known in _CHOICES.items():
        if chosen[key] not in known:
            raise UserError(f"{path}: {key} is {chosen[key]!r}; it must be one of {', '.join(known)}")
    encoder = values.get("encoder", _OLDEST_ENCODER)  # what it names is looked up where its layers are needed
    if not isinstance(encoder, str):
        raise UserError(f"{path}: encoder is {encoder!r}; it must be the name of a kind of student")
    feeds = _feeds(path, values.get("feeds", BERT_FEEDS if chosen["vocabulary"] == TEACHER_TOKENS else WORD_FEEDS))
    numbers = {key: values.get(key, default) for key, default in _OPTIONAL_NUMBERS.items()}
    for key, value in numbers.items():
        if type(value) is not int and value is not None:
            raise UserError(f"{path}: {key} is {value!r}; it must be a whole number")
    names = values.get("label_names")
    if not isinstance(names, list) or not names or len(names) != values.get("num_classes"):
        raise UserError(f"{path}: label_names must list num_classes names, one or more")
    task_name = values.get("task_name")
    if task_name is not None and task_name not in TASKS:
        raise UserError(f"{path}: task_name is {task_name!r}, which is none of ours; import the plug-in that has it "
                        "before, in Python, or use the paddleslim_bilstm that wrote it")
    thresholds = values.get("thresholds", [])
    if thresholds and (task_name is None or not TASKS[task_name].thresholds) or not _are_thresholds(thresholds, names):
        raise UserError(f"{path}: thresholds is {short(repr(thresholds))}; of a student of several labels a text it "
                        "must list a number between 0 and 1 for each label")
    return StudentSpec(label_names=tuple(str(name) for name in names), feeds=feeds, task_name=task_name,
                       encoder=encoder, thresholds=tuple(thresholds), **chosen, **sizes, **numbers, **switches)


def _are_thresholds(values: Any, names: list[str]) -> bool:
    return isinstance(values, list) and len(values) in (0, len(names)) and all(
        isinstance(value, float) and 0 < value < 1 for value in values)


def _feeds(path: Path, values: Any) -> tuple[Feed, ...]:
    try:
        feeds = tuple(Feed(*map(str, value)) for value in values)
    except TypeError:
        feeds = ()
    if IDS not in [feed.role for feed in feeds] or any(feed.role not in ROLES or feed.dtype not in DTYPES
                                                       for feed in feeds):
        raise UserError(f"{path}: feeds is {values!r}; it must list [name, role, dtype] of each input, one with the "
                        "role ids")
    return feeds
