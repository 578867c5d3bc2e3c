"""Rows of text and label, the columns they come from, and what was odd about them."""

from __future__ import annotations

import math
import numbers
import re
from dataclasses import dataclass, field
from typing import Any, Callable, Iterable, Mapping, Sequence

import numpy as np

from ..characters import check_surrogates
from ..config.checks import nearest
from ..errors import UserError
from .oddities import count_oddities

Where = Callable[[np.ndarray], str]  # where(indices of sentences) -> their places, such as "train.tsv:2,7"

TEXT_COLUMNS = ("sentence", "text_a", "text", "content", "review", "query", "question")
SECOND_TEXT_COLUMNS = ("text_b", "sentence2", "text2", "question2")
LABEL_COLUMNS = ("label", "labels", "category", "class", "target", "targets")

_NUMBER = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?")


@dataclass
class Rows:
    """Texts and labels in the order of their source.

    Attributes:
        source: the path of the file or the name of the list, for messages.
        texts: stripped, never empty.
        labels: as written, stripped; None when they were not read.
        places: the line of each row in a file, or its position in a list.
        empty_skipped: how many rows had no text and were left out.
        byte_order_mark, crlf_lines: whether the file begins with one, and how many of its lines end as in Windows;
            neither becomes part of a text.
        numeric: labels are the numbers of a regression.
    """

    source: str
    texts: list[str] = field(default_factory=list)
    labels: list[str] | None = None
    places: list[int] = field(default_factory=list)
    empty_skipped: int = 0
    byte_order_mark: int = 0
    crlf_lines: int = 0
    from_list: bool = False
    numeric: bool = False

    def add(self, place: int, text: str, label: str | None) -> None:
        """Take one row in; a row without text is only counted.

        Raises:
            UserError: NUL or half a surrogate pair in the text, no label where labels are read, or one that is no
                number where they are ``numeric``.
        """
        text = text.strip()
        if not text:
            self.empty_skipped += 1
            return
        if not text.isascii() or "\0" in text:
            check_characters(text, self.at(place))
        if self.labels is not None:
            label = (label or "").strip()
            if not label:
                raise UserError(f"{self.at(place)}: has no label; add it or remove the row")
            if self.numeric:
                check_number(label, self.at(place))
            self.labels.append(label)
        self.texts.append(text)
        self.places.append(place)

    def at(self, place: int | str) -> str:
        """Return the place of a row, or several, for messages: "train.tsv:7" or "train.tsv:7,9"; lists "train[7]"."""
        return f"{self.source}[{place}]" if self.from_list else f"{self.source}:{place}"

    def counts(self) -> dict[str, int]:
        """Return rows, empty_skipped, duplicates (same text again), conflicting_labels (again, other label), and the
        oddities of file and texts.

        Duplicates and conflicts stay in the data: which of two labels is right can't be known here.
        """
        first: dict[str, str | None] = {}
        conflicts = 0
        for text, label in zip(self.texts, self.labels or [None] * len(self.texts)):
            conflicts += first.setdefault(text, label) != label
        return {"rows": len(self.texts), "empty_skipped": self.empty_skipped,
                "duplicates": len(self.texts) - len(first), "conflicting_labels": conflicts,
                "byte_order_mark": self.byte_order_mark, "crlf_lines": self.crlf_lines, **count_oddities(self.texts)}


@dataclass(frozen=True)
class Columns:
    """Positions of the text and label columns; ``label`` is None when labels are not read."""

    text: int
    label: int | None


def find_columns(names: Sequence[str], where: str, text_column: str | None, label_column: str | None,
                 with_labels: bool) -> Columns:
    """Return which of the named columns hold text and label.

    Without ``text_column`` the first of ``TEXT_COLUMNS`` that is there, in capitals or not; likewise the label.

    Raises:
        UserError: no such column, or a second text column that would be ignored silently.
    """
    lowered = [name.strip().lower() for name in names]
    second = next((name for name in SECOND_TEXT_COLUMNS if name in lowered), None)
    if second and text_column is None:
        raise UserError(f"{where}: has a second text column {second}, and sentence pairs are not supported yet; "
                        "name the one column to read with Global.text_column")
    text = _find(names, where, text_column, TEXT_COLUMNS, "text")
    return Columns(text, _find(names, where, label_column, LABEL_COLUMNS, "label") if with_labels else None)


def _find(names: Sequence[str], where: str, wanted: str | None, defaults: Sequence[str], kind: str) -> int:
    names = [name.strip() for name in names]
    if wanted is None:
        names = [name.lower() for name in names]
        wanted = next((name for name in defaults if name in names), None)
        if wanted is None:
            raise UserError(f"{where}: no {kind} column is known among {', '.join(map(_short, names))}; name it with "
                            f"Global.{kind}_column (a first line must name the columns, such as {defaults[0]})")
    if wanted not in names:
        hint = nearest(wanted, map(_short, names))
        raise UserError(f"{where}: Global.{kind}_column is {wanted}, which is not among the columns{hint}")
    if names.count(wanted) > 1:
        raise UserError(f"{where}: the column {wanted} is there twice; rename one")
    return names.index(wanted)


def read_records(rows: Rows, records: Iterable[tuple[int, Any]], text_column: str | None,
                 label_column: str | None) -> Rows:
    """Fill ``rows`` from (place, record) and return it.

    A record is a mapping ``{column: value}``, a pair ``(text, label)`` or, where labels are not read, a plain text.
    Labels may be text, whole numbers or booleans; where ``rows.numeric``, any numbers.

    Raises:
        UserError: another kind of record, a missing column, a text or label of the wrong type.
    """
    with_labels = rows.labels is not None
    names: list[str] = []
    for place, record in records:
        if isinstance(record, Mapping):
            if not names:
                names = [str(name) for name in record]
                columns = find_columns(names, rows.at(place), text_column, label_column, with_labels)
            text, label = (_value(record, names, column, rows.at(place)) for column in (columns.text, columns.label))
        elif isinstance(record, str):
            text, label = record, None
        elif isinstance(record, Sequence) and len(record) == 2:
            text, label = record
        else:
            raise UserError(f"{rows.at(place)}: must be {{column: value}} or (text, label), not {_short(repr(record))}")
        if not isinstance(text, str):
            raise UserError(f"{rows.at(place)}: the text is {_short(repr(text))}; it must be text")
        rows.add(place, text, label_text(label, rows.at(place), rows.numeric) if with_labels else None)
    return rows


def _value(record: Mapping, names: list[str], column: int | None, where: str) -> Any:
    if column is None:
        return None
    if names[column] not in record:
        raise UserError(f"{where}: has no {names[column]}, which the first row has; add it or remove the row")
    return record[names[column]]


def label_text(label: Any, where: str, numeric: bool = False) -> str | None:
    """Return a label as text: 1, 1.0 and "1" are the same label, True is "true"; ``numeric``: 0.5 is "0.5".

    Raises:
        UserError: it is neither text, a whole number, a boolean nor None.
    """
    if label is None or isinstance(label, str):
        return label
    if isinstance(label, bool):
        return str(label).lower()
    if isinstance(label, numbers.Real) and label == label and float(label).is_integer():
        return str(int(label))
    if numeric and isinstance(label, numbers.Real):
        return repr(float(label))
    raise UserError(f"{where}: the label is {_short(repr(label))}; it must be text or a whole number (for scores set "
                    "Global.task: regression)")


def check_number(label: str, where: str) -> None:
    """Refuse what is not a finite number, written as ``3``, ``-0.5`` or ``1e-3``.

    Raises:
        UserError: naming ``where``.
    """
    if not _NUMBER.fullmatch(label) or not math.isfinite(float(label)):
        raise UserError(f"{where}: the label is {_short(label)}; for a regression (Global.task) it must be a number")


def check_characters(text: str, where: str) -> None:
    """Refuse NUL and lone surrogates, which no tokenizer can read.

    Raises:
        UserError: naming ``where``.
    """
    if "\0" in text:
        raise UserError(f"{where}: has a NUL character; remove it")
    check_surrogates(text, where)


def _short(text: str) -> str:
    return text if len(text) <= 40 else text[:37] + "..."
