"""What others have answered to the texts that ``augment`` wrote: read from JSONL, NPY and safetensors files."""

from __future__ import annotations

import json
import logging
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Hashable, Iterable, Sequence

import numpy as np
import safetensors.numpy

from ..augment.words import find_hashes, row_hashes
from ..errors import UserError, short
from ..labels import in_order, listed
from ..task import LEAST_PROBABILITY, SMOOTHING, Task
from ..text.files import json_objects
from ..text.rows import Rows
from ..tokens import Sentences
from .texts_to_label import ID_DIGITS, MANIFEST, PART_ROWS, TEXT_FIELDS, id_of, part_name

_log = logging.getLogger(__name__)

SETTING = "Global.teacher_labels"
_ARRAYS = (".npy", ".safetensors")
_SUFFIXES = (".jsonl", ".ndjson", *_ARRAYS)
_LOGITS, _PROBABILITIES, _LABEL = KINDS = ("logits", "probabilities", "label")  # what a row may hold, the best first
_TENSORS = {"logits": _LOGITS, "probabilities": _PROBABILITIES, "labels": _LABEL}
_ROWS_PER_ARRAY = 1 << 16
_ID = re.compile(rf"[0-9a-fA-F]{{{ID_DIGITS}}}")
_SUM_TOLERANCE = 0.05  # of rounded probabilities
_LARGEST_WHOLE = 2**53
_REMEDY = ("if the texts were written with a model_dir, name it, or the folder tokenizer beside them, as "
           "Global.tokenizer_dir; else write them again with `paddleslim-bilstm augment` and the configuration of this "
           "run, and label those")
_SHOWN = 5


@dataclass(frozen=True)
class LabelTable:
    """The answers by the hash of their texts.

    Attributes:
        hashes: of the texts' tokens, see `row_hashes`, uint64 ``[n]``, ascending.
        logits: float32 ``[n, classes]``.
        notes: how they became logits, for the report.
    """

    hashes: np.ndarray
    logits: np.ndarray
    notes: tuple[str, ...]
    _places: np.ndarray = field(repr=False)
    _files: Sequence[Path] = field(repr=False)

    def logits_of(self, sentences: Sentences) -> np.ndarray:
        """Return the logits of each sentence, float32 ``[n, classes]``; NaN where there is no answer."""
        place, found = find_hashes(self.hashes, row_hashes(sentences))
        return np.where(found[:, None], self.logits[place], np.float32(np.nan))

    def check_known(self, *texts: Sentences) -> None:
        """Refuse answers to other texts than ``texts``.

        Raises:
            UserError: naming the first.
        """
        known = np.unique(np.concatenate([row_hashes(sentences) for sentences in texts]))
        unknown = np.flatnonzero(~np.isin(self.hashes, known, assume_unique=True))
        if not len(unknown):
            return
        first = unknown[np.lexsort(self._places[unknown].T[::-1])[0]]
        more = ("" if len(unknown) == 1 else f" (nor are {len(unknown) - 1:,} others of {len(self.hashes):,})"
                if len(unknown) < len(self.hashes) else ", nor is any other")
        raise UserError(f"{_at(self._files, *self._places[first])}: the id {id_of(self.hashes[first])} is of no text "
                        f"of this run{more}; these labels belong to another tokenizer, data, seed, "
                        f"max_seq_length or DataAugmentation: {_REMEDY}")


@dataclass
class GivenAnswers:
    """The answers as they were read.

    Attributes:
        outputs: how many numbers an answer has; None where there are labels alone.
        label_names: of the numbers in their order, where the files say so.
        files: that were read.
    """

    task: Task
    outputs: int | None = None
    label_names: tuple[str, ...] | None = None
    files: list[Path] = field(default_factory=list)
    _parts: list[tuple[str, np.ndarray, Any, np.ndarray]] = field(default_factory=list)
    _open: dict[str, tuple[list, list, list]] = field(default_factory=lambda: {kind: ([], [], []) for kind in KINDS})
    _names_from: str = ""
    _width_from: str = ""
    _order_from: str = ""  # the first row by name, where no manifest names the numbers
    _bare_from: str = ""  # the first numbers without names

    def add(self, kind: str, ids: np.ndarray, values: Any, places: np.ndarray) -> None:
        """Take in answers of one kind.

        Args:
            ids: the texts' hashes, uint64 ``[n]``.
            values: float64 ``[n, outputs]``; of labels a list as the task reads them.
            places: file and line, int32 ``[n, 2]``.
        """
        if kind != _LABEL:
            values = self._checked(kind, values, places)
        self._parts.append((kind, ids, values, places))

    def name_outputs(self, names: Sequence[str], where: str) -> None:
        """Take names of the outputs.

        Raises:
            UserError: others were given before, or they are no names.
        """
        names = tuple(names)
        if not names or not all(isinstance(name, str) for name in names) or len(set(names)) < len(names):
            raise UserError(f"{where}: label_names is {short(repr(list(names)))}; it must be a list of names, all "
                            "different")
        if self.label_names not in (None, names):
            raise UserError(f"{where}: names the outputs {', '.join(names)} where {self._names_from} names "
                            f"{', '.join(self.label_names)}; let them agree")
        self._check_width(len(names), where)
        self.label_names, self._names_from = names, where

    def add_row(self, hash_: int, kind: str, value: Any, file: int, line: int) -> None:
        """Take in one answer: a list of numbers or numbers by name, or a label."""
        where = _at(self.files, file, line)
        if kind == _LABEL:
            value = self.task.read_label(value, where)
        else:
            value = self._numbers(kind, value, where)
        ids, values, places = self._open[kind]
        ids.append(hash_)
        values.append(value)
        places.append((file, line))
        if len(ids) == _ROWS_PER_ARRAY:
            self.close(kind)

    def close(self, *kinds: str) -> None:
        """Put rows of ``kinds`` that came one by one into arrays."""
        for kind in kinds:
            ids, values, places = self._open[kind]
            if ids:
                self.add(kind, np.array(ids, np.uint64), values if kind == _LABEL else np.array(values, np.float64),
                         np.array(places, np.int32))
                self._open[kind] = [], [], []

    def table(self, label_names: Sequence[str]) -> LabelTable:
        """Return all answers as logits; ``label_names`` are those of the run's classes.

        Raises:
            UserError: a label is none of these, or a text has two answers that differ.
        """
        if self.outputs not in (None, len(label_names)):
            raise UserError(f"{self._width_from}: has {self.outputs} numbers where the data has {len(label_names)} "
                            f"classes ({', '.join(label_names)}); every answer has one for each class, or name them "
                            "all as label_names in manifest.json")
        parts = [self._as_logits(kind, values, places, label_names) for kind, _, values, places in self._parts]
        hashes = np.concatenate([ids for _, ids, _, _ in self._parts])
        places = np.concatenate([places for _, _, _, places in self._parts])
        order = np.argsort(hashes, kind="stable")
        hashes, places, logits = hashes[order], places[order], np.concatenate(parts)[order]
        again = np.flatnonzero(hashes[1:] == hashes[:-1]) + 1
        differing = again[(logits[again] != logits[again - 1]).any(axis=1)]
        if len(differing):
            one, other = sorted(tuple(places[row].tolist()) for row in (differing[0] - 1, differing[0]))
            raise UserError(f"{_at(self.files, *other)}: answers the id {id_of(hashes[differing[0]])} otherwise than "
                            f"{_at(self.files, *one)} does; give one answer a text, such as the mean of several")
        first = np.ones(len(hashes), bool)
        first[again] = False
        notes = tuple(self._note(kind, len(label_names), sum(len(ids) for one, ids, _, _ in self._parts if one == kind))
                      for kind in KINDS if any(one == kind for one, *_ in self._parts) and self._changed(kind))
        for note in notes:
            _log.info("%s", note)
        return LabelTable(hashes[first], logits[first], notes, places[first], self.files)

    def _note(self, kind: str, classes: int, count: int) -> str:
        if kind == _PROBABILITIES:
            return (f"{count:,} answers came as probabilities and became logits by their logarithms, those below "
                    f"{LEAST_PROBABILITY:g} as if they were that.")
        certain = 1 - SMOOTHING + (SMOOTHING / classes if self.task.has_classes else 0)
        return f"{count:,} answers came as labels and became logits of a {certain:.0%} certain teacher."

    def _changed(self, kind: str) -> bool:
        return kind == _PROBABILITIES or kind == _LABEL and self.task.smooths_labels

    def _numbers(self, kind: str, value: Any, where: str) -> list[float]:
        if isinstance(value, dict):
            if self.label_names is None or value.keys() != set(self.label_names):
                self._order_from = self._order_from or where
                self.name_outputs(sorted(value, key=in_order), where)  # as the data's labels are
            value = [value[name] for name in self.label_names]
        else:
            self.bare_numbers(where)
            value = [value] if type(value) in (int, float) else value
        if not isinstance(value, list) or not value or not all(map(_is_number, value)):
            raise UserError(f"{where}: {kind} is {short(json.dumps(value))}; it must be a list of numbers, one a class")
        self._check_width(len(value), where)
        return value

    def check_classes(self, labels: Iterable[Hashable]) -> None:
        """Refuse names in rows that aren't the data's labels: the order in a row says nothing of which is which.

        Args:
            labels: the data's, as the task reads them.

        Raises:
            UserError: there are such names, and no manifest.
        """
        if not self._order_from:
            return
        known = {name.casefold() for name in self.label_names}
        found = dict.fromkeys(one for label in labels for one in (label if isinstance(label, tuple) else (label,)))
        if any(label.casefold() not in known for label in found):
            raise UserError(f"{self._order_from}: names the classes {listed(self.label_names)}, and the data has the "
                            f"labels {listed(sorted(found, key=in_order))}; answer by these, or say which is which by "
                            f"label_names in {MANIFEST}, in the order of the classes")

    def bare_numbers(self, where: str) -> None:
        """Note that the numbers at ``where`` have no names."""
        self._bare_from = self._bare_from or where

    def check_order(self) -> None:
        """Refuse bare numbers beside numbers by name: the order of the names in a row says nothing of others.

        Raises:
            UserError: there are both, and no manifest.
        """
        if self._order_from and self._bare_from and self.outputs > 1:
            raise UserError(f"{self._bare_from}: has bare numbers where {self._order_from} has them by name; name them "
                            "in every row, or give their order as label_names in manifest.json")

    def _check_width(self, width: int, where: str) -> None:
        if self.outputs is None:
            self.outputs, self._width_from = width, where
        elif width != self.outputs:
            raise UserError(f"{where}: has {width} numbers where {self._width_from} has {self.outputs}; every answer "
                            "has one for each class")

    def _checked(self, kind: str, values: np.ndarray, places: np.ndarray) -> np.ndarray:
        """Return logits, or probabilities, as float32 after a look at each number."""
        self._check_width(values.shape[1], _at(self.files, *places[0]))
        good = np.isfinite(values).all(axis=1) & (np.abs(values) <= np.finfo(np.float32).max).all(axis=1)
        problem = "must be finite numbers; answer this text again, or leave its row out"
        if kind == _PROBABILITIES and good.all():
            good = ((values >= 0) & (values <= 1)).all(axis=1)
            problem = "must be from 0 to 1 each; what is not goes under logits"
            if good.all() and self.task.has_classes:
                good = np.abs(values.sum(axis=1) - 1) <= _SUM_TOLERANCE
                problem = "must sum to 1 over the classes"
        if not good.all():
            row = int(np.argmin(good))
            raise UserError(f"{_at(self.files, *places[row])}: the {kind} are "
                            f"{short(', '.join(f'{value:g}' for value in values[row]))}; they {problem}")
        if kind == _PROBABILITIES and self.task.has_classes:
            values = values / values.sum(axis=1, keepdims=True)
        return values.astype(np.float32)

    def _as_logits(self, kind: str, values: Any, places: np.ndarray, names: Sequence[str]) -> np.ndarray:
        if kind == _LOGITS:
            return values
        logits = (self.task.logits_of_probabilities(values) if kind == _PROBABILITIES else
                  self.task.logits_of_labels(self._ids_of(values, places, names), len(names)))
        if logits is None:
            raise UserError(f"{_at(self.files, *places[0])}: holds {kind}, which a {self.task.name} has none of; give "
                            "logits")
        return logits.astype(np.float32)

    def _ids_of(self, labels: list, places: np.ndarray, names: Sequence[str]) -> np.ndarray:
        """Return labels as the task's arrays."""
        first = {}
        for row, label in enumerate(labels):
            first.setdefault(label, row)
        ids = {}
        for label, row in first.items():
            rows = Rows(_at(self.files, *places[row]), labels=[label], task=self.task)
            ids[label] = self.task.scheme(None, rows, len(names), names).ids_of([label])[0]
        return np.array([ids[label] for label in labels])


def read_answers(paths: Sequence[str], task: Task) -> GivenAnswers:
    """Read files of answers, and all of them in folders.

    A line of ``.jsonl`` holds the ``id`` of a text and one of ``logits``, ``probabilities`` (either may be a list or
    numbers by class name) and ``label``; ``part-00000.npy`` (logits) and ``part-00000.safetensors`` (a tensor
    ``logits``, ``probabilities`` or ``labels``) hold a row for each line of the ``part-00000.jsonl`` beside them. A
    ``manifest.json`` beside them may name the classes in the order of the numbers, ``label_names``.

    Raises:
        UserError: a file is missing or damaged, or an answer is wrong; the message names its line.
    """
    answers = GivenAnswers(task)
    found = [file for path in paths for file in _files(Path(path))]
    answers.files = list(dict.fromkeys(found))
    for folder in dict.fromkeys(file.parent for file in answers.files):
        _read_names(folder / MANIFEST, answers)
    answered_by_arrays = {file.with_suffix("") for file in answers.files if file.suffix in _ARRAYS}
    for number, file in enumerate(answers.files):
        if file.suffix in _ARRAYS:
            _read_arrays(file, number, answers)
        elif file.with_suffix("") not in answered_by_arrays:
            _read_jsonl(file, number, answers)
    answers.close(*KINDS)
    if not answers._parts:
        raise UserError(f"{SETTING}: {', '.join(paths)} holds no answer; beside its id a row must hold logits, "
                        "probabilities or label")
    answers.check_order()
    if answers.outputs is not None:
        task.check_teacher(answers.outputs)
    return answers


def _files(path: Path) -> list[Path]:
    if path.is_dir():
        files = sorted(file for file in path.iterdir() if file.suffix in _SUFFIXES and file.is_file())
        if not files:
            raise UserError(f"{SETTING}: {path} holds no {', '.join(_SUFFIXES)} file")
        return files
    if not path.is_file():
        raise UserError(f"{SETTING}: {path} is neither a file nor a folder; name where the labels are")
    if path.suffix not in _SUFFIXES:
        raise UserError(f"{SETTING}: {path} has the suffix {path.suffix or '(none)'}; it must be one of "
                        f"{', '.join(_SUFFIXES)}, or a folder")
    return [path]


def _read_names(manifest: Path, answers: GivenAnswers) -> None:
    if not manifest.is_file():
        return
    try:
        names = json.loads(manifest.read_text(encoding="utf-8"))["label_names"]
    except KeyError:
        return
    except (OSError, ValueError, TypeError, RecursionError):
        raise UserError(f"{manifest}: is no JSON object; mend it, or remove it") from None
    if not isinstance(names, list):
        raise UserError(f"{manifest}: label_names is {short(repr(names))}; it must be a list of names")
    answers.name_outputs(names, str(manifest))


def _read_jsonl(path: Path, number: int, answers: GivenAnswers) -> None:
    for line, record in _records(path):
        hash_ = _hash_of(record, path, line)
        kind = next((kind for kind in KINDS if record.get(kind) is not None), None)
        if kind is not None:
            answers.add_row(hash_, kind, record[kind], number, line)
            continue
        strange = [key for key in record if key not in TEXT_FIELDS and key not in KINDS]
        if strange:
            raise UserError(f"{path}:{line}: has {short(', '.join(strange))} beside its id; an answer is called "
                            "logits, probabilities or label")


def _records(path: Path):
    try:
        yield from json_objects(path, Rows(str(path)), '{"id": ..., "logits": [...]}')
    except OSError as error:
        raise UserError(f"{SETTING}: can't read {path} ({error.strerror})") from None


def _hash_of(record: dict[str, Any], path: Path, line: int) -> int:
    text = record.get("id")
    if isinstance(text, str) and _ID.fullmatch(text):
        return int(text, 16)
    raise UserError(f"{path}:{line}: the id is {short(json.dumps(text))}; it must be the {ID_DIGITS} hex digits that "
                    "augment wrote beside the text")


def _read_arrays(path: Path, number: int, answers: GivenAnswers) -> None:
    kind, values = _tensor(path)
    texts = path.with_suffix(".jsonl")
    if not texts.is_file():
        raise UserError(f"{path}: which texts it answers {texts.name} would tell, and that is not beside it; copy it "
                        "there from the folder that augment wrote")
    ids = np.array([_hash_of(record, texts, line) for line, record in _records(texts)], np.uint64)
    if len(values) != len(ids):
        raise UserError(f"{path}: has {len(values):,} rows where {texts.name} has {len(ids):,}; it must answer every "
                        "line, in that order")
    if not len(ids):
        return
    places = np.stack([np.full(len(ids), number), np.arange(len(ids))], axis=1).astype(np.int32)
    if kind == _LABEL:
        values = [answers.task.read_label(value, _at(answers.files, number, row))
                  for row, value in enumerate(values.tolist())]
    else:
        answers.bare_numbers(_at(answers.files, *places[0]))
    answers.add(kind, ids, values, places)


def _tensor(path: Path) -> tuple[str, np.ndarray]:
    """Return what kind of answers the file holds, and a row each: float64 ``[n, outputs]``, of labels ``[n]``."""
    try:
        if path.suffix == ".npy":
            name, values = "logits", np.load(path, allow_pickle=False)
        else:
            tensors = safetensors.numpy.load_file(path)
            known = [name for name in _TENSORS if name in tensors]
            if len(known) != 1:
                raise UserError(f"{path}: holds {', '.join(tensors) or 'no tensor'}; one tensor must be called logits, "
                                "probabilities or labels")
            name, values = known[0], tensors[known[0]]
    except UserError:
        raise
    except Exception as error:  # NumPy and safetensors raise what they like on a damaged file
        raise UserError(f"{path}: can't be read ({short(str(error) or type(error).__name__)}); write it again as float "
                        "numbers") from None
    kind = _TENSORS[name]
    if kind == _LABEL:
        if values.ndim != 1 or values.dtype.kind not in "iuf":
            raise UserError(f"{path}: labels has the shape {list(values.shape)} and type {values.dtype}; it must be "
                            "one class or number a row")
        return kind, values
    values = values[:, None] if values.ndim == 1 else values
    if values.ndim != 2 or not values.shape[1] or values.dtype.kind != "f":
        raise UserError(f"{path}: {name} has the shape {list(values.shape)} and type {values.dtype}; it must be float "
                        "numbers [rows, classes]")
    return kind, values.astype(np.float64)


def _is_number(value: Any) -> bool:
    return type(value) is float or type(value) is int and abs(value) < _LARGEST_WHOLE


def _at(files: Sequence[Path], file: int, row: int) -> str:
    """Return a place for messages: "labels.jsonl:7", of arrays "part-00000.npy[7]"."""
    path = files[file]
    return f"{path}[{row}]" if path.suffix in _ARRAYS else f"{path}:{row}"


def missing_note(answered: np.ndarray) -> str:
    """Say how many texts of the transfer set have no answer, and which: ``answered`` is bool ``[n]``, in its order."""
    parts = [(part_name(start // PART_ROWS), int((~answered[start:start + PART_ROWS]).sum()))
             for start in range(0, len(answered), PART_ROWS)]
    missing = [f"{count:,} of {name}" for name, count in parts if count]
    more = f" and {len(missing) - _SHOWN} more parts" if len(missing) > _SHOWN else ""
    return (f"{int((~answered).sum()):,} of the {len(answered):,} texts of the transfer set have no answer and are "
            f"left out: {', '.join(missing[:_SHOWN])}{more}.")
