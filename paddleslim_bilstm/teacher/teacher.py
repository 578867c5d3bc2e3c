"""What every teacher answers, and the teacher that is a Paddle inference model."""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any, Callable, ClassVar, NamedTuple, Sequence

import numpy as np

from ..cpu import cores_to_use
from ..export.file_names import program_file
from ..tokens import Framing, Sentences, Tokenizer
from .engine import Engine, load_engine, logits_of
from .hints import Basis
from .program import read_parameter, read_signature


@dataclass(frozen=True)
class Teacher:
    """A fine-tuned classifier, which is asked for the logits of sentences; each kind of teacher is a class.

    Attributes:
        tokenizer: makes the sentences' tokens, for the student, too.
        num_classes: columns of its logits; 1 for a regression.
        label_names: names of the classes by column, or None where it has none.
        framing: how a sentence or a pair becomes its inputs, and those of the student that takes its place.
        max_length: tokens that it can take, special tokens included, or None where it has no limit.
        fingerprint: changes with all that its answers depend on but tokens and framing.
    """

    tokenizer: Tokenizer
    num_classes: int
    label_names: tuple[str, ...] | None
    framing: Framing
    max_length: int | None
    fingerprint: str

    has_bf16: ClassVar[bool] = False
    """Whether its engine can multiply in bfloat16."""
    members: ClassVar[tuple[Member, ...]] = ()
    """The teachers that it is made of, if it is made of several."""
    chunk_sentences: ClassVar[int | None] = None
    """Where answers are dear: how many are kept at a time, and none is asked for twice, not even for a check."""

    @property
    def answers_anything(self) -> bool:
        """Whether it may be asked about any sentences, as often as one likes."""
        return self.model_file is not None or bool(self.members)

    @property
    def model_file(self) -> Path | None:
        """Its network in a file that can be measured, if it has one: ``.pdmodel`` or ``.json``, weights beside it, or
        ``.onnx``."""
        return None

    @property
    def embeddings(self) -> np.ndarray | None:
        """Its word embeddings, float32 ``[vocabulary, hidden]``, by token id, if they can be had."""
        return None

    def reading(self, sentences: Sentences, texts: Sequence[Any] | None) -> Teacher:
        """Return this teacher, to be asked about ``sentences`` and what is made of them; ``texts`` are behind them."""
        return self

    def fingerprint_for(self, sentences: Sentences) -> str:
        """Return `fingerprint` with what else its answers to ``sentences`` depend on, but for tokens and framing."""
        return self.fingerprint

    @property
    def tells_hints(self) -> bool:
        """Whether its network tells `hints`."""
        return False

    def hinting(self, basis: Basis | None = None) -> Teacher | None:
        """Return this teacher to be asked for `hints`, or None where its network doesn't tell.

        Its answers are float32 ``[n, classes + units]``: the logits, and behind them the hints that ``basis`` makes of
        the mean hidden states, or those states as they are.
        """
        if not self.tells_hints:
            return None
        about = {one.name: getattr(self, one.name) for one in fields(Teacher)}
        return _HintingTeacher(**about, own=self, basis=basis)

    def asked(self, sentences: Sentences) -> tuple[Teacher, Sentences]:
        """Return the teacher whose network answers, and ``sentences`` as that one reads them."""
        return self, sentences

    def logits(self, sentences: Sentences, progress: Callable[[int], object] | None = None, bf16: bool = False,
               threads: int | None = None) -> np.ndarray:
        """Return the logits of each sentence (or pair), float32 ``[n, classes]``, see `logits_of`."""
        return logits_of(self.engine(bf16, threads), sentences, self.framing, progress)

    def engine(self, bf16: bool = False, threads: int | None = None) -> Engine:
        """Return the network on ``threads`` CPU threads, all cores by default; the same one until another is asked for.

        Only the last one is kept: a network in two precisions takes twice the memory.
        """
        key = threads or cores_to_use(), bf16
        if key not in self._engines:
            self.release()
            self._engines[key] = self._load(*key)
        return self._engines[key]

    def release(self) -> None:
        """Give back the memory of the loaded network."""
        self._engines.clear()

    @cached_property
    def _engines(self) -> dict[tuple[int, bool], Engine]:
        return {}

    def _load(self, threads: int, bf16: bool) -> Engine:
        raise NotImplementedError(f"{type(self).__name__} is no network")

    def load_hinting(self, threads: int, bf16: bool) -> Engine:
        """Return the network on ``threads`` CPU threads, with the mean hidden states behind the logits."""
        raise NotImplementedError(f"{type(self).__name__} tells no hints")


@dataclass(frozen=True)
class _HintingTeacher(Teacher):
    """What `Teacher.hinting` returns."""

    own: Teacher
    basis: Basis | None

    @property
    def has_bf16(self) -> bool:
        return self.own.has_bf16

    def logits(self, sentences: Sentences, progress: Callable[[int], object] | None = None, bf16: bool = False,
               threads: int | None = None) -> np.ndarray:
        return logits_of(self.engine(bf16, threads), sentences, self.framing, progress, self._with_hints)

    def _with_hints(self, answer: np.ndarray) -> np.ndarray:
        logits, states = np.split(answer, [self.num_classes], axis=1)
        return answer if self.basis is None else np.hstack([logits, self.basis.hints(states)])

    def _load(self, threads: int, bf16: bool) -> Engine:
        return self.own.load_hinting(threads, bf16)


class Member(NamedTuple):
    """One of several teachers: what it is called, and the column of each class in its logits."""

    name: str
    teacher: Teacher
    columns: tuple[int, ...]

    def logits(self, *args: Any) -> np.ndarray:
        """Return its logits, see `Teacher.logits`, in the order of the classes that all have in common.

        Its network is given back, or the memory would have to hold those of all.
        """
        logits = self.teacher.logits(*args)[:, self.columns]
        self.teacher.release()
        return logits


@dataclass(frozen=True)
class PaddleTeacher(Teacher):
    """A classifier in Paddle, loaded once, when it is first asked.

    Attributes:
        prefix: our own copy as an inference model, ``<prefix>.pdmodel`` (or ``.json``) and ``<prefix>.pdiparams``.
        hinting_program: the same program with hidden states as its second output, see `hints.write_hinting_program`.
    """

    prefix: Path
    hinting_program: Path | None = None

    has_bf16 = True

    @property
    def model_file(self) -> Path:
        return program_file(self.prefix)

    @cached_property
    def embeddings(self) -> np.ndarray:
        return read_parameter(self.prefix, read_signature(self.model_file).embedding)

    @property
    def tells_hints(self) -> bool:
        return self.hinting_program is not None

    def _load(self, threads: int, bf16: bool) -> Engine:
        return load_engine(self.prefix, threads, bf16)

    def load_hinting(self, threads: int, bf16: bool) -> Engine:
        return load_engine(self.prefix, threads, bf16, self.hinting_program)
