"""Several teachers as one: the mean of their logits, each reading in its own way."""

from __future__ import annotations

import logging
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Callable, Sequence

import numpy as np

from ..errors import UserError
from ..storage import checksum
from ..text import Text
from ..tokens import Sentences
from .hints import Basis
from .load import load_teacher
from .spelling import Speller
from .teacher import Member, Teacher

_log = logging.getLogger(__name__)

_LONGEST = 512  # tokens that a network without a limit is given of a text, where the student doesn't read as many


@dataclass(frozen=True)
class Translated(Teacher):
    """A teacher with another tokenizer than the student: it reads what the student's tokens spell.

    Attributes:
        own: the teacher, with its own tokenizer and framing, and a limit; the other attributes are the student's.
        speller: of the student's tokens.
    """

    own: Teacher
    speller: Speller

    @property
    def has_bf16(self) -> bool:
        return self.own.has_bf16

    def reading(self, sentences: Sentences, texts: Sequence[Any] | None) -> Translated:
        return replace(self, own=self.own.reading(sentences, texts), speller=self.speller.knowing(sentences, texts))

    def fingerprint_for(self, sentences: Sentences) -> str:
        return checksum(self.fingerprint, self.speller.known(sentences))

    @property
    def tells_hints(self) -> bool:
        return self.own.tells_hints

    def hinting(self, basis: Basis | None = None) -> Translated | None:
        return replace(self, own=self.own.hinting(basis)) if self.tells_hints else None

    def asked(self, sentences: Sentences) -> tuple[Teacher, Sentences]:
        read = self.own.tokenizer.encode([self._in_own_words(text) for text in self.speller.spell(sentences)])
        return self.own, read.truncate(self.own.max_length - self.own.framing.special_tokens(read.pairs))

    def logits(self, sentences: Sentences, progress: Callable[[int], object] | None = None, bf16: bool = False,
               threads: int | None = None) -> np.ndarray:
        own, read = self.asked(sentences)
        return own.logits(read, progress, bf16, threads)

    def release(self) -> None:
        self.own.release()

    def _in_own_words(self, text: Text) -> Text:
        """Return ``text`` with the teacher's own mask and unknown tokens."""
        if not isinstance(text, str):
            return tuple(map(self._in_own_words, text))
        for theirs, own in self._tokens.items():
            text = text.replace(theirs, own)
        return text

    @cached_property
    def _tokens(self) -> dict[str, str]:
        theirs, own = self.tokenizer, self.own.tokenizer
        masks = {} if theirs.mask_id is None else {theirs.mask_id: own.unk_id if own.mask_id is None else own.mask_id}
        pairs = {**masks, theirs.unk_id: own.unk_id}
        return {theirs.vocab[one]: own.vocab[other] for one, other in pairs.items()
                if theirs.vocab[one] != own.vocab[other]}


@dataclass(frozen=True)
class Ensemble(Teacher):
    """Teachers of the same classes, whose logits are averaged. Tokenizer and framing are the first one's.

    Attributes:
        members: all of them read the first one's tokens.
    """

    members: tuple[Member, ...]

    @cached_property
    def embeddings(self) -> np.ndarray | None:
        """The first ones of a member that has the student's tokens."""
        return next((found for member in self.members if (found := member.teacher.embeddings) is not None), None)

    @property
    def tells_hints(self) -> bool:
        return any(member.teacher.tells_hints for member in self.members)

    def reading(self, sentences: Sentences, texts: Sequence[Any] | None) -> Ensemble:
        return replace(self, members=tuple(one._replace(teacher=one.teacher.reading(sentences, texts))
                                           for one in self.members))

    def logits(self, sentences: Sentences, progress: Callable[[int], object] | None = None, bf16: bool = False,
               threads: int | None = None) -> np.ndarray:
        return np.mean([one.logits(sentences, None, bf16, threads) for one in self.members], axis=0, dtype=np.float32)

    def release(self) -> None:
        for one in self.members:
            one.teacher.release()


def load_teachers(places: Sequence[str], work_dir: Path, model_filename: str | None = None,
                  params_filename: str | None = None, tokenizer_dir: str | None = None,
                  max_seq_length: int = 0) -> Teacher:
    """Load the teacher in ``places``, or the `Ensemble` of several, see `load_teacher`; all but the first bring their
    tokenizer with them.

    Args:
        max_seq_length: what the student reads; of a text, others without a limit read twice that, 512 at least.

    Raises:
        UserError: as `load_teacher`, or they don't have the same classes.
    """
    first = load_teacher(places[0], work_dir, model_filename, params_filename, tokenizer_dir)
    if len(places) == 1:
        return first
    return ensemble_of(places, [first, *(load_teacher(place, work_dir) for place in places[1:])], 2 * max_seq_length)


def ensemble_of(names: Sequence[str], teachers: Sequence[Teacher], longest: int = 0) -> Ensemble:
    """Return the mean of several teachers; the student's tokens and classes are the first one's.

    Raises:
        UserError: they don't have the same classes.
    """
    first, known = teachers[0], next((one for one in teachers if one.label_names is not None), teachers[0])
    columns = [_columns(names[0], first, name, one, known.label_names) for name, one in zip(names, teachers)]
    same = [one.tokenizer.vocab == first.tokenizer.vocab for one in teachers]
    longest = max(longest, _LONGEST)
    readers = [one if is_same else _translated(one, first, longest) for one, is_same in zip(teachers, same)]
    for name, one in zip(names, readers):
        how = ("takes the texts that the tokens of the first one spell, as its tokenizer is another one"
               if isinstance(one, Translated) else "reads the tokens of the first one")
        _log.info("the teacher %s %s", name, how)
    lengths = [one.max_length for one, is_same in zip(teachers, same) if is_same and one.max_length is not None]
    members = tuple(map(Member, _short(names), readers, columns))
    return Ensemble(first.tokenizer, first.num_classes, known.label_names, first.framing, min(lengths, default=None),
                    checksum([one.fingerprint for one in readers], columns), members)


def _translated(teacher: Teacher, first: Teacher, longest: int) -> Translated:
    teacher = replace(teacher, max_length=teacher.max_length or longest)
    key = checksum(teacher.fingerprint, teacher.tokenizer.rust.to_str(), asdict(teacher.framing), teacher.max_length)
    return Translated(first.tokenizer, teacher.num_classes, teacher.label_names, first.framing, first.max_length, key,
                      teacher, Speller(first.tokenizer))


def _columns(first_name: str, first: Teacher, name: str, teacher: Teacher,
             label_names: tuple[str, ...] | None) -> tuple[int, ...]:
    """Return the column of each class in the logits of ``teacher``."""
    if teacher.num_classes != first.num_classes:
        raise UserError(f"Global.model_dir: {name} has {teacher.num_classes} classes and {first_name} "
                        f"{first.num_classes}; several teachers must have the same ones")
    if label_names is None or teacher.label_names is None:
        if label_names is not None:
            _log.warning("%s does not name its classes; they are taken to be %s, in this order", name,
                         ", ".join(label_names))
        return tuple(range(first.num_classes))
    columns = columns_by_name(label_names, teacher.label_names)
    if columns is None:
        raise UserError(f"Global.model_dir: {name} names its classes {', '.join(teacher.label_names)}, not "
                        f"{', '.join(label_names)}; mend id2label in its config.json if they are the same")
    if columns != tuple(range(first.num_classes)):
        _log.info("the classes of %s come in another order; they are sorted by their names", name)
    return columns


def columns_by_name(wanted: Sequence[str], own: Sequence[str]) -> tuple[int, ...] | None:
    """Return where each of the classes ``wanted`` is among a teacher's ``own``; None where they aren't the same ones.

    >>> columns_by_name(["bad", "good"], ["Good", "Bad"])
    (1, 0)
    """
    wanted, own = ([name.casefold() for name in names] for names in (wanted, own))
    if sorted(wanted) != sorted(own) or len(set(own)) < len(own):
        return None
    return tuple(own.index(name) for name in wanted)


def _short(names: Sequence[str]) -> list[str]:
    """Return the last part of each path, that of the folder for an ONNX file; the whole paths where two are alike."""
    short = [Path(name).parent.name if name.endswith(".onnx") else Path(name).name for name in names]
    return short if all(short) and len(set(short)) == len(short) else list(names)
