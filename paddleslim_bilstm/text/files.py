"""Rows from TSV, CSV, JSONL and plain-text files, read line by line as UTF-8.

What happens to odd input: a byte-order mark and CRLF line ends are accepted; rows without text are skipped and
counted; invalid UTF-8, NUL, and rows with too few or too many columns are errors that name the line; packed files,
workbooks and the line ends of old Macs are refused as such.
"""

from __future__ import annotations

import csv
import json
import re
from itertools import chain, islice
from pathlib import Path
from typing import Any, Iterable, Iterator, Sequence

from ..errors import UserError
from ..task import CLASSIFICATION, Task
from .rows import COLUMN_OPTIONS, COLUMN_SETTINGS, Rows, Text, TextColumn, check_first, find_columns, read_records

TABLES = (".tsv", ".csv")
FORMATS = ".tsv, .csv, .jsonl"
_SEPARATORS = ",;\t"  # of CSV: the one that the line of column names has most of, the first of equals
_NO_TEXT = {b"\x1f\x8b": "packed (gzip); unpack it", b"\xd0\xcf\x11\xe0": "an Excel workbook; save it as CSV in UTF-8",
            b"PK\x03\x04": "a zip file or an Excel workbook; unpack it, or save it as CSV in UTF-8"}
_LONGEST_FIELD = 2**31 - 1  # characters; Python's own limit is 131,072


def read_file(path: str | Path, setting: str, *, text_column: TextColumn | None = None, label_column: str | None = None,
              with_labels: bool = True, task: Task = CLASSIFICATION, columns_of: str = "") -> Rows:
    """Return the rows of a file; its suffix tells the format.

    ``.tsv`` has no quoting (a ``"`` is a character), ``.csv`` quotes as RFC 4180 has it, with commas between fields, or
    semicolons or tabs, as Excel in other countries; both begin with a line of column names. ``.jsonl`` (``.ndjson``)
    holds one object a line. ``.txt``, only without labels, one text a line.

    Args:
        path: the file.
        setting: the setting that named it, for messages, e.g. "Global.train_file"; another is an option.
        text_column: its text column, or the two of pairs; None looks for usual names (``rows.PAIR_COLUMNS``,
            ``TEXT_COLUMNS``).
        label_column: likewise (``rows.LABEL_COLUMNS``).
        with_labels: read labels too; else they may be missing.
        task: says what the labels are.
        columns_of: the source whose columns are named, if it is another; here they may be called otherwise, see
            `~paddleslim_bilstm.text.rows.find_columns`.

    Raises:
        UserError: missing, empty or broken file; the message names file, line and remedy.
    """
    path = Path(path)
    readers = {**dict.fromkeys(TABLES, _read_table), ".jsonl": _read_jsonl, ".ndjson": _read_jsonl}
    if not with_labels:
        readers[".txt"] = _read_txt
    reader = readers.get(path.suffix.lower())
    if reader is None:
        formats = FORMATS if with_labels else f"{FORMATS}, .txt"
        raise UserError(f"{setting}: {path} has the suffix {path.suffix or '(none)'}; it must be one of {formats}")
    named_by = COLUMN_SETTINGS if setting.startswith("Global.") else COLUMN_OPTIONS
    rows = Rows(str(path), labels=[] if with_labels else None, task=task, column_settings=named_by,
                columns_of=columns_of)
    try:
        rows = reader(path, rows, text_column, label_column)
    except OSError as error:
        raise UserError(f"{setting}: can't read {path} ({error.strerror})") from None
    if not rows.texts:
        raise UserError(f"{setting}: {path} has no rows with text")
    return rows


def read_sample(path: str | Path, setting: str, most: int) -> tuple[list[str], list[list[Any]]]:
    """Return the names of a file's columns, and the fields of its first rows, of JSONL as they are in the objects.

    Raises:
        UserError: it can't be read, or has no rows; the message names file, line and remedy.
    """
    path, rows = Path(path), Rows(str(path))
    if path.suffix.lower() not in (*TABLES, ".jsonl", ".ndjson"):
        raise UserError(f"{setting}: {path} has the suffix {path.suffix or '(none)'}; it must be one of {FORMATS}")
    try:
        if path.suffix.lower() in TABLES:
            records = (record for record in _records(_lines(path, rows), rows) if record[1])
            names = [name.strip() for name in next(records, (1, []))[1]]
            sample = [fields for _, fields in islice(records, most) if len(fields) == len(names)]
        else:
            objects = list(islice(json_objects(path, rows, "{...}"), most))
            for number, first in objects[:1]:
                check_first(first, rows.at(number))
            names = [str(name) for _, first in objects[:1] for name in first]
            sample = [[record.get(name, "") for name in names] for _, record in objects]
    except OSError as error:
        raise UserError(f"{setting}: can't read {path} ({error.strerror})") from None
    if not sample:
        raise UserError(f"{setting}: {path} has no rows below the names of its columns")
    return names, sample


def _lines(path: Path, rows: Rows) -> Iterator[tuple[int, str]]:
    with open(path, "rb") as file:
        yield from _decoded(file, rows)


def _decoded(lines: Iterable[bytes], rows: Rows) -> Iterator[tuple[int, str]]:
    """Yield line number from 1 and text of each line, without its end; count in ``rows`` what is left out."""
    lines = iter(lines)
    head = list(islice(lines, 2))
    check_beginning(head, rows.source)
    check_line_end(head, rows.source)
    for number, raw in enumerate(chain(head, lines), 1):
        if number == 1 and raw.startswith(b"\xef\xbb\xbf"):
            raw, rows.byte_order_mark = raw[3:], 1
        rows.crlf_lines += raw.endswith(b"\r\n")
        try:
            line = raw.decode("utf-8")
        except UnicodeDecodeError as error:
            raise UserError(f"{rows.source}:{number}: is not UTF-8 (byte 0x{raw[error.start]:02x} at column "
                            f"{error.start + 1}); save the file as UTF-8") from None
        if "\0" in line:
            raise UserError(f"{rows.source}:{number}: has a NUL character; remove it")
        yield number, line.rstrip("\r\n") if line.endswith("\n") else line


def check_beginning(lines: Sequence[bytes], source: str) -> None:
    """Refuse what begins as a file does that is no text.

    Raises:
        UserError: naming ``source`` and what it is.
    """
    for beginning, kind in _NO_TEXT.items():
        if lines and lines[0].startswith(beginning):
            raise UserError(f"{source}: is {kind}")


def check_line_end(lines: Sequence[bytes], source: str) -> None:
    """Refuse a file whose only line holds CR, with which old Macs and Excel's "CSV (Macintosh)" end lines.

    Raises:
        UserError: naming ``source``.
    """
    if len(lines) == 1 and b"\r" in lines[0].rstrip(b"\r\n"):
        raise UserError(f"{source}: is one line with CR in it, which ended lines on old Macs; save it with LF or CRLF")


def _read_txt(path: Path, rows: Rows, text_column: TextColumn | None, label_column: str | None) -> Rows:
    for number, line in _lines(path, rows):
        rows.add(number, line, None)
    return rows


def _read_table(path: Path, rows: Rows, text_column: TextColumn | None, label_column: str | None) -> Rows:
    for row in _table_rows(_lines(path, rows), rows, text_column, label_column):
        rows.add(*row)
    return rows


def table_texts(lines: Iterable[bytes], rows: Rows, text_column: TextColumn | None) -> Iterator[Text]:
    """Yield the texts of the lines of a .tsv or .csv, which ``rows.source`` ends in, as they come, those without a
    letter, too; ``rows`` only counts.

    Raises:
        UserError: as for `read_file`.
    """
    for _, text, _ in _table_rows(_decoded(lines, rows), rows, text_column, None):
        yield text if isinstance(text, str) else tuple(text)


def _table_rows(lines: Iterator[tuple[int, str]], rows: Rows, text_column: TextColumn | None,
                label_column: str | None) -> Iterator[tuple[int, Any, str | None]]:
    """Yield line, text (of pairs a list of two) and label, as they are written; count empty lines in ``rows``."""
    records = _records(lines, rows)
    _, names = next(records, (1, []))
    if not names:
        raise UserError(f"{rows.at(1)}: is empty; the first line must name the columns, such as sentence and label")
    columns = find_columns(names, rows.at(1), text_column, label_column, rows.labels is not None, rows.column_settings,
                           rows.columns_of)
    for number, fields in records:
        if not fields:
            rows.empty_skipped += 1
        elif len(fields) != len(names):
            raise UserError(f"{rows.at(number)}: has {len(fields)} columns where the first line names {len(names)}; "
                            "mend the line")
        else:
            texts = [fields[column] for column in columns.texts]
            yield (number, texts[0] if len(texts) == 1 else texts,
                   None if columns.label is None else fields[columns.label])


def _records(lines: Iterator[tuple[int, str]], rows: Rows) -> Iterator[tuple[int, list[str]]]:
    """Yield the first line of each record, which quoted line ends in CSV may spread over several, and its fields."""
    if rows.source.lower().endswith(".tsv"):
        yield from ((number, line.split("\t") if line else []) for number, line in lines)
        return
    csv.field_size_limit(_LONGEST_FIELD)
    texts = (line + "\n" for _, line in lines)
    names = next(texts, "")
    reader = csv.reader(chain([names], texts), delimiter=separator_of(names), strict=True)
    number = 1
    try:
        for fields in reader:
            yield number, fields
            number = reader.line_num + 1
    except csv.Error as error:
        raise UserError(f"{rows.at(number)}: is no valid CSV ({error}); a \" inside a quoted field is written twice") \
            from None


def separator_of(names: str) -> str:
    """Return what stands between the fields of CSV whose first line this is: ``'"a,b";c' -> ";"``."""
    return max(_SEPARATORS, key=re.sub('"[^"]*"', "", names).count)


def _read_jsonl(path: Path, rows: Rows, text_column: TextColumn | None, label_column: str | None) -> Rows:
    return read_records(rows, json_objects(path, rows, '{"sentence": ..., "label": ...}'), text_column, label_column)


def json_objects(path: Path, rows: Rows, example: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield line number from 1 and object of each line that isn't empty; count in ``rows`` what is left out.

    Raises:
        UserError: a line is no object, such as ``example``; the message names it.
    """
    for number, line in _lines(path, rows):
        if not line.strip():
            rows.empty_skipped += 1
            continue
        try:
            record = json.loads(line)
        except (ValueError, RecursionError) as error:
            problem = error.msg if isinstance(error, json.JSONDecodeError) else "too deep or too long a number"
            raise UserError(f"{path}:{number}: is no valid JSON ({problem}); each line must hold one object") from None
        if not isinstance(record, dict):
            raise UserError(f"{path}:{number}: must hold an object, {example}")
        yield number, record
