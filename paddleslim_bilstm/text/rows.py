"""Rows of text (or a pair of texts) and label, read from records, and what was odd about them."""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass, field
from typing import Any, Callable, Iterable, Mapping, Sequence, Tuple, Union

import numpy as np

from ..errors import UserError, nearest, short
from ..task import CLASSIFICATION, Task

TEXT_COLUMNS = ("sentence", "text_a", "text", "content", "review", "query", "question")
PAIR_COLUMNS = (("sentence1", "sentence2"), ("sentence_1", "sentence_2"), ("text_a", "text_b"), ("text1", "text2"),
                ("question1", "question2"), ("question", "sentence"), ("question", "passage"), ("query", "title"),
                ("query", "passage"), ("premise", "hypothesis"), ("text", "text_pair"), ("#1 string", "#2 string"))
_SECOND_COLUMNS = ("sentence2", "sentence_2", "text_b", "text2", "question2", "hypothesis")  # never a single text's
_ASKING, _ANSWERS = ("question", "query"), ("passage", "answer", "response", "reply")
LABEL_COLUMNS = ("label", "labels", "category", "class", "target", "targets", "is_duplicate", "gold_label", "quality")

_log = logging.getLogger(__name__)

TextColumn = Union[str, Tuple[str, str]]  # one column, or the two of pairs


@dataclass(frozen=True)
class Columns:
    """Positions of the text columns, one or the two of pairs, and of the label's; None when labels are not read."""

    texts: tuple[int, ...]
    label: int | None


COLUMN_SETTINGS, COLUMN_OPTIONS = ("Global.text_column", "Global.label_column"), ("--text-column", "--label-column")


def find_columns(names: Sequence[str], where: str, text_column: TextColumn | None, label_column: str | None,
                 with_labels: bool, settings: tuple[str, str] = COLUMN_SETTINGS, columns_of: str = "",
                 named_by: str = "a first line must name the columns") -> Columns:
    """Return which of the named columns hold text and label.

    Without ``text_column`` the one pair of ``PAIR_COLUMNS``, or else the first of ``TEXT_COLUMNS`` that is there, in
    capitals or not; likewise the label. None is both.

    Where the two name the columns of another source, ``columns_of``, and this one has none of that name, its only
    column is taken, or the only one with a usual name, with a warning. ``named_by`` says what holds the names.

    Raises:
        UserError: no such column, one for both, or columns that could be a pair as well as not.
    """
    if columns_of:
        text_column, label_column = _own_names([name.strip() for name in names], where, text_column, label_column,
                                               with_labels, settings, columns_of)
    if text_column is None:
        text_column = known_pair(names, where, settings[0], label_column)
    wanted = text_column if isinstance(text_column, tuple) else (text_column,)
    hint = named_by + ("" if with_labels else "; texts alone, one a line, are a .txt")
    texts = tuple(_find(names, where, name, TEXT_COLUMNS, "text", settings[0], (label_column,), hint,
                        columns_of) for name in wanted)
    if not with_labels:
        return Columns(texts, None)
    label = _find(names, where, label_column, LABEL_COLUMNS, "label", settings[1], [names[text] for text in texts],
                  hint, columns_of)
    if label in texts:
        raise UserError(f"{where}: {' and '.join(settings)} both name {names[label].strip()}; name two columns")
    return Columns(texts, label)


def known_pair(names: Sequence[str], where: str, setting: str = "Global.text_column",
               label_column: str | None = None) -> tuple[str, str] | None:
    """Return the two columns that usual pair data sets have, as they are written here; None if there are none.

    Raises:
        UserError: there are two such pairs, or half of one beside a single text.
    """
    written = {name.strip().lower(): name.strip() for name in names if name.strip() != label_column}
    found = [pair for pair in PAIR_COLUMNS if written.keys() >= set(pair)]
    found = [pair for place, pair in enumerate(found) if pair[0] not in [first for first, _ in found[:place]]]
    sides = {name for pair in found for name in pair}
    single = [name for name in TEXT_COLUMNS if name in written and name not in sides]
    seconds = _SECOND_COLUMNS + (_ANSWERS if not sides and set(single) <= set(_ASKING) else ())
    lone = [name for name in seconds if name in written and name not in sides]
    if len(found) > 1 or (found and single) or (single and lone):
        texts = [written[name] for name in written if name in {*sides, *single, *lone}]
        raise UserError(f"{where}: the columns {', '.join(map(short, texts))} could be single sentences or pairs; name "
                        f"the one column, or the two of pairs, with {setting}")
    return tuple(written[name] for name in found[0]) if found else None


def _find(names: Sequence[str], where: str, wanted: str | None, defaults: Sequence[str], kind: str,
          setting: str, taken: Sequence[str | None], hint: str, columns_of: str) -> int:
    names = [name.strip() for name in names]
    if wanted is None:
        others = [one and one.strip() for one in taken]
        lower = ["" if name in others else name.lower() for name in names]
        wanted = next((name for name in defaults if name in lower), None)
        if wanted is None:
            by_name = "" if columns_of else f"name it with {setting}, or "  # which would then miss in `columns_of`
            raise UserError(f"{where}: no {kind} column is known among {', '.join(map(short, names))}; {by_name}call "
                            f"it {defaults[0]} there ({hint})")
        names = lower
    if wanted not in names:
        hint = nearest(wanted, map(short, names))
        raise UserError(f"{where}: {setting} is {wanted}, which is not among the columns{hint}")
    if names.count(wanted) > 1:
        raise UserError(f"{where}: the column {wanted} is there twice; rename one")
    return names.index(wanted)


def _own_names(names: Sequence[str], where: str, text_column: TextColumn | None, label_column: str | None,
               with_labels: bool, settings: tuple[str, str], columns_of: str) -> tuple[TextColumn | None, str | None]:
    """Return what the columns are called that ``columns_of`` has as ``text_column`` and ``label_column``."""
    wanted = text_column if isinstance(text_column, tuple) else (text_column,)
    if with_labels and label_column is not None and label_column not in names:
        usual = [name for name in names if name.lower() in LABEL_COLUMNS and name not in wanted]
        label_column = _in_place_of(label_column, usual, names, where, settings[1], columns_of)
    if len(names) == 1 and len(wanted) == 1 and text_column not in names and (
            text_column or names[0].lower() not in TEXT_COLUMNS):
        _log.warning("%s: %s, the only column, is read as the text", where, short(names[0]))
        text_column = names[0]
    elif text_column is not None and not set(wanted) <= set(names):
        try:
            pair = known_pair(names, where, settings[0], label_column)
        except UserError:  # they could be pairs or not: none is the usual one
            pair = ()
        usual = [pair] if pair else []
        if len(wanted) == 1:
            usual = [name for name in names if pair is None and name.lower() in TEXT_COLUMNS and name != label_column]
        text_column = _in_place_of(text_column, usual, names, where, settings[0], columns_of)
    return text_column, label_column


def _in_place_of(wanted: TextColumn, usual: Sequence[TextColumn], names: Sequence[str], where: str, setting: str,
                 columns_of: str) -> TextColumn:
    wanted_shown = wanted if isinstance(wanted, str) else " and ".join(wanted)
    if len(usual) != 1:
        raise UserError(f"{where}: has no {wanted_shown}, which is {setting} in {columns_of}, among its columns "
                        f"({', '.join(map(short, names))}); rename what is meant to {wanted_shown}")
    found = usual[0] if isinstance(usual[0], str) else " and ".join(usual[0])
    _log.warning("%s: has no %s, which is %s in %s; %s is read", where, wanted_shown, setting, columns_of, found)
    return usual[0]


_HALF_A_PAIR = re.compile("[\ud800-\udfff]")


def check_surrogates(text: str, where: str) -> None:
    """Refuse half of a surrogate pair (JSON's ``"\\ud800"``), which no tokenizer can read.

    Raises:
        UserError: naming ``where``.
    """
    if not text.isascii() and _HALF_A_PAIR.search(text):
        raise UserError(f"{where}: has half of a surrogate pair (\\ud800 to \\udfff), which is no character; remove it")


LONG_CHARACTERS = 10_000

_LETTER = re.compile(r"[^\W_]")


def count_oddities(texts: Iterable[str]) -> dict[str, int]:
    """Return how many texts have no letter or digit, and how many are very long.

    >>> count_oddities(["fine", "?!", "👍", "שלום"])
    {'without_letters': 2, 'long': 0}
    """
    without_letters = long = 0
    for text in texts:
        without_letters += _LETTER.search(text) is None
        long += len(text) > LONG_CHARACTERS
    return {"without_letters": without_letters, "long": long}


Where = Callable[[np.ndarray], str]  # where(indices of sentences) -> their places, such as "train.tsv:2,7"

Text = Union[str, Tuple[str, str]]  # of a sentence, or of both sides of a pair


@dataclass
class Rows:
    """Texts and labels in the order of their source.

    Attributes:
        source: the path of the file or the name of the list, for messages.
        texts: stripped; never empty, but one side of a pair may be.
        labels: as written, in the task's form: text, or several as a tuple; None when they were not read.
        places: the line of each row in a file, or its position in a list.
        empty_skipped: how many rows had no text and were left out.
        one_side_empty: how many pairs have text on one side only; they stay.
        byte_order_mark, crlf_lines: whether the file begins with one, and how many of its lines end as in Windows;
            neither becomes part of a text.
        task: says what the labels are.
        column_settings: what the user names the columns of text and label by, for messages.
        columns_of: the source whose columns these settings name first of all, if it is another.
        labels_of: the model whose labels these must be, for messages: "teacher" or "student".
    """

    source: str
    texts: list[Text] = field(default_factory=list)
    labels: list[Any] | None = None
    places: list[int] = field(default_factory=list)
    empty_skipped: int = 0
    one_side_empty: int = 0
    byte_order_mark: int = 0
    crlf_lines: int = 0
    from_list: bool = False
    task: Task = CLASSIFICATION
    column_settings: tuple[str, str] = COLUMN_SETTINGS
    columns_of: str = ""
    labels_of: str = "teacher"

    @property
    def pairs(self) -> bool:
        """Whether the texts are pairs."""
        return bool(self.texts) and not isinstance(self.texts[0], str)

    def add(self, place: int, text: Text, label: Any) -> None:
        """Take one row in; a row without text is only counted.

        Raises:
            UserError: NUL or half a surrogate pair in a text or label, a pair among single sentences or the other way
                round, no label where labels are read, or one that the task can't have.
        """
        sides = [side.strip() for side in ([text] if isinstance(text, str) else text)]
        if not any(sides):
            self.empty_skipped += 1
            return
        for side in sides:
            if not side.isascii() or "\0" in side:
                check_characters(side, self.at(place))
        if self.texts and self.pairs != (len(sides) == 2):
            kinds = "a single sentence", "a pair of sentences"
            raise UserError(f"{self.at(place)}: is {kinds[not self.pairs]} where the first row is {kinds[self.pairs]}; "
                            "give one kind or the other")
        self.one_side_empty += len(sides) == 2 and not all(sides)
        if self.labels is not None:
            self.labels.append(self.task.read_label(label, self.at(place)))
            for name in self.labels[-1] if isinstance(self.labels[-1], tuple) else self.labels[-1:]:
                if isinstance(name, str):
                    check_characters(name, f"{self.at(place)}: the label")
        self.texts.append(sides[0] if len(sides) == 1 else (sides[0], sides[1]))
        self.places.append(place)

    def at(self, place: int | str) -> str:
        """Return the place of a row, or several, for messages: "train.tsv:7" or "train.tsv:7,9"; lists "train[7]"."""
        return f"{self.source}[{place}]" if self.from_list else f"{self.source}:{place}"

    def counts(self) -> dict[str, int]:
        """Return rows, empty_skipped, duplicates (same text again), conflicting_labels (again, other label), and the
        oddities of file and texts.

        Of pairs also one_side_empty.

        Duplicates and conflicts stay in the data: which of two labels is right can't be known here.
        """
        first: dict[Text, Any] = {}
        conflicts = 0
        for text, label in zip(self.texts, self.labels or [None] * len(self.texts)):
            conflicts += first.setdefault(text, label) != label
        counts = {"rows": len(self.texts), "empty_skipped": self.empty_skipped,
                  "duplicates": len(self.texts) - len(first), "conflicting_labels": conflicts,
                  "byte_order_mark": self.byte_order_mark, "crlf_lines": self.crlf_lines}
        if not self.pairs:
            return {**counts, **count_oddities(self.texts)}
        return {**counts, "one_side_empty": self.one_side_empty, **count_oddities(map(" ".join, self.texts))}


def read_records(rows: Rows, records: Iterable[tuple[int, Any]], text_column: TextColumn | None,
                 label_column: str | None, pairs: bool = False) -> Rows:
    """Fill ``rows`` from (place, record) and return it.

    A record is a mapping ``{column: value}``, ``(text, label)``, ``((first, second), label)`` or
    ``(first, second, label)``, also as a row of an array, or, where labels are not read, a plain text; labels that
    aren't read may be None.
    Labels may be what ``rows.task`` takes: text, whole numbers or booleans, or lists of them.

    Args:
        pairs: two texts are a pair, not a text and a label that isn't read.

    Raises:
        UserError: another kind of record, a missing column, a text or label of the wrong type.
    """
    names: list[Any] = []  # those of a table without a header are numbers
    for place, record in records:
        if isinstance(record, np.ndarray) and record.ndim == 1:
            record = record.tolist()
        if isinstance(record, Mapping):
            if not names:
                names = list(record)
                columns = _columns_of_record(record, rows, place, text_column, label_column)
            values = [_value(record, names, column, rows.at(place)) for column in (*columns.texts, columns.label)]
            text, label = values[0] if len(values) == 2 else values[:2], values[-1]
        elif isinstance(record, str):
            text, label = record, None
        elif not isinstance(record, Sequence) or len(record) not in (2, 3):
            raise UserError(f"{rows.at(place)}: must be {{column: value}}, (text, label) or ((first, second), label), "
                            f"not {short(repr(record))}")
        elif len(record) == 3:
            text, label = record[:2], record[2]
        elif pairs and all(isinstance(part, str) for part in record):
            text, label = record, None
        else:
            text, label = record
        _check_text(text, rows.at(place))
        rows.add(place, text, label)
    return rows


def _columns_of_record(record: Mapping, rows: Rows, place: int, text_column: TextColumn | None,
                       label_column: str | None) -> Columns:
    """Return the columns by the first record, whose keys the others have, too.

    Raises:
        UserError: it has no keys, or one of the columns is within another; else as for `find_columns`.
    """
    where, with_labels = rows.at(place), rows.labels is not None
    check_first(record, where)
    texts = text_column if isinstance(text_column, tuple) else (text_column,)
    for setting, wanted in [*((rows.column_settings[0], text) for text in texts),
                            *([(rows.column_settings[1], label_column)] if with_labels else [])]:
        if wanted is not None and wanted not in record and is_nested(record, wanted):
            raise UserError(f"{where}: {setting} is {wanted}; {FLATTEN}")
    return find_columns(list(map(str, record)), where, text_column, label_column, with_labels, rows.column_settings,
                        rows.columns_of, f"each {'row' if rows.from_list else 'object'} must have that key")


def check_first(record: Mapping, where: str) -> None:
    """Refuse a first record without keys, by which the columns are known.

    Raises:
        UserError: naming ``where``.
    """
    if not record:
        raise UserError(f"{where}: has no keys, and the first of all must have those of the rest; remove it")


FLATTEN = "an object within an object is not read: flatten it, so that each value has a key of the outer one"


def is_nested(record: Mapping, key: str) -> bool:
    """Return whether a key stands for an object in ``record``, or for what is in one.

    >>> is_nested({"data": {"text": "a"}}, "data.text")
    True
    """
    return isinstance(record.get(key, record.get(key.split(".")[0])), Mapping)


def _check_text(text: Any, where: str) -> None:
    if isinstance(text, (list, tuple)) and len(text) == 2 and all(isinstance(side, str) for side in text):
        return
    if isinstance(text, Mapping):
        raise UserError(f"{where}: the text is {short(repr(text))}; {FLATTEN}")
    if not isinstance(text, str):
        raise UserError(f"{where}: the text is {short(repr(text))}; it must be text, or (text, text) for a pair")


def _value(record: Mapping, names: list[Any], column: int | None, where: str) -> Any:
    if column is None:
        return None
    if names[column] not in record:
        raise UserError(f"{where}: has no {names[column]}, which the first row has; add it or remove the row")
    return record[names[column]]


def check_kind(rows: Rows, pairs: bool, others: str, setting: str = "Global.text_column") -> None:
    """Refuse pairs among single sentences, and the other way round.

    Raises:
        UserError: naming the source, and ``others`` that are of the other kind.
    """
    if rows.texts and rows.pairs != pairs:
        kinds = "single sentences", "pairs of sentences"
        remedy = f"name the {'two columns' if pairs else 'one column'} to read with {setting}"
        if rows.source.endswith(".txt"):
            remedy = "give them as .tsv, .csv or .jsonl with two columns"
        raise UserError(f"{rows.source}: has {kinds[rows.pairs]}, {others} are {kinds[pairs]}; {remedy}")


def check_characters(text: str, where: str) -> None:
    """Refuse NUL and lone surrogates, which no tokenizer can read and no file of ours can hold.

    Raises:
        UserError: naming ``where``.
    """
    if "\0" in text:
        raise UserError(f"{where}: has a NUL character; remove it")
    check_surrogates(text, where)
