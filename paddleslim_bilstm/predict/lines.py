"""The texts, or pairs of texts, of an input: lines, JSONL, or a table."""

from __future__ import annotations

import json
import re
from itertools import chain, islice
from typing import Any, BinaryIO, Iterator, Sequence

from ..errors import UserError
from ..text.files import TABLES, check_beginning, check_line_end, separator_of, table_texts
from ..text.rows import FLATTEN, TEXT_COLUMNS, Rows, check_kind, check_surrogates, is_nested, known_pair
from .predictor import Text

DEFAULT_KEY = "text"
_JSONL, _JSON = (".jsonl", ".ndjson"), ".json"
_SETTING = "--text-key"
_COLUMN = re.compile(r"([\w#.-]+( [\w#.-]+)?)?")  # a name of one or two words, or none, as pandas calls its index
_HEAD = 20  # lines by which a table is told from texts
_ROWS = 1000  # of a table at a time


def texts_of(stream: BinaryIO, name: str, jsonl: bool, pairs: bool, keys: Sequence[str] = ()) -> Iterator[list[Text]]:
    """Yield the texts of an input as they arrive, some at a time.

    Files ``name.tsv`` and ``name.csv`` are tables, read as training files are, unless they hold nothing but a text a
    line; all else is lines, see `LineReader`, but for ``name.json``, which is read with ``jsonl`` alone.

    Args:
        stream: the input.
        name: its name, for messages; a suffix tells what a file holds.
        jsonl: every line is a JSON object, whatever the name.
        pairs: the texts are pairs.
        keys: keys of the objects or columns of the table; empty for the usual names.

    Raises:
        UserError: as `LineReader` and `~paddleslim_bilstm.text.files.read_file`.
    """
    jsonl = jsonl or name.lower().endswith(_JSONL)
    if not jsonl and name.lower().endswith(_JSON):
        raise UserError(f"{name}: has the suffix .json, which is not read; write one object a line as .jsonl (or, if "
                        "it holds that, give --jsonl)")
    _check_number(keys, pairs)
    head: list[bytes] = []
    if not jsonl and name.lower().endswith(".csv" if pairs else TABLES):
        head = list(islice(stream, _HEAD))
        check_beginning(head, name)
        check_line_end(head, name)
        if keys or _is_table(name, head, pairs):
            rows = Rows(name, column_settings=(_SETTING, ""))
            texts = table_texts(chain(head, stream), rows, (tuple(keys) if pairs else keys[0]) if keys else None)
            while some := list(islice(texts, _ROWS)):
                check_kind(Rows(name, some[:1]), pairs, "the texts of this student", _SETTING)
                yield some
            return
    reader = LineReader(name, jsonl, pairs, keys)
    if head:
        yield reader.texts(1, [line[:-1] if line.endswith(b"\n") else line for line in head])
    for first_line, lines in chunks_of(stream, 1 + len(head)):
        yield reader.texts(first_line, lines)


class LineReader:
    """Reads plain lines or JSONL; of pairs ``FIRST<TAB>SECOND``, TSV whose first line names the columns, or JSONL.

    Args:
        name: of the input, for messages.
        jsonl: every line is a JSON object; empty ones are passed over, as JSONL has them.
        pairs: the texts are pairs.
        keys: keys of the objects or, of pairs, columns; empty for the usual names.

    Raises:
        UserError: there are keys for plain lines of single sentences, which have none.
    """

    def __init__(self, name: str, jsonl: bool, pairs: bool, keys: Sequence[str] = ()):
        if keys and not jsonl and not pairs:
            raise UserError(f"--text-key: {name} is read as plain lines, which have no keys; say --jsonl if each is a "
                            "JSON object, or give a table as .tsv or .csv")
        self._name, self._jsonl, self._pairs, self._keys = name, jsonl, pairs, tuple(keys)
        self._columns: list[int] | None = None  # of TSV, once the first line was seen

    def texts(self, first_line: int, lines: Sequence[bytes]) -> list[Text]:
        """Return the texts of some lines, the next of the input; ``first_line`` counts from 1.

        Raises:
            UserError: a line isn't UTF-8, isn't the JSON or TSV that it should be, or has half a surrogate pair; or the
                first of plain lines is JSON.
        """
        if first_line == 1:
            check_beginning(lines, self._name)
            if lines and not self._jsonl and _is_json(_decoded(lines[0], f"{self._name}:1")):
                raise UserError(f"{self._name}:1: looks like JSON; give --jsonl where each line is an object (a text "
                                'that is JSON itself must stand in one, {"text": ...})')
        found = []
        for number, line in enumerate(lines, first_line):
            place = f"{self._name}:{number}"
            text = _decoded(line, place)
            if self._jsonl:
                if not text.strip():
                    continue
                found.append(self._of_object(text, place))
            elif not self._pairs:
                found.append(text)
            elif self._columns is not None or not self._is_header(text, place):
                found.append(self._of_columns(text, place))
        return found

    def _of_object(self, text: str, place: str) -> Text:
        try:
            value = json.loads(text)
        except (ValueError, RecursionError) as error:
            remedy = ("mend the line" if self._name.lower().endswith(_JSONL) else "write one a line" if
                      self._name.lower().endswith(_JSON) else "leave out --jsonl for plain lines")
            raise UserError(f"{place}: not a JSON object ({error}); {remedy}") from None
        if not isinstance(value, dict):
            raise UserError(f'{place}: must hold an object, {{"{DEFAULT_KEY}": ...}}; write one a line')
        if not self._pairs:
            return _value(value, (self._keys or (DEFAULT_KEY,))[0], place)
        if not self._keys:
            self._keys = known_pair(list(value), place, _SETTING) or ()
        if not self._keys:
            raise UserError(f"{place}: holds no two texts with usual names, such as sentence1 and sentence2; name "
                            "their keys with --text-key, twice")
        return _value(value, self._keys[0], place), _value(value, self._keys[1], place)

    def _is_header(self, text: str, place: str) -> bool:
        names = [name.strip() for name in text.split("\t")]  # as `known_pair` and the training files have them
        keys = self._keys or known_pair(names, place, _SETTING)
        missing = [key for key in self._keys if key not in names]
        if missing:
            raise UserError(f"{place}: names no column {missing[0]}; the first line must name the columns of "
                            "--text-key")
        self._columns = [names.index(key) for key in keys] if keys else [0, 1]
        self._width = len(names) if keys else 2
        return bool(keys)

    def _of_columns(self, text: str, place: str) -> Text:
        fields = text.split("\t")
        if len(fields) != self._width:
            raise UserError(f"{place}: has {len(fields)} columns, not {self._width}; this student reads pairs, "
                            "FIRST<TAB>SECOND")
        return fields[self._columns[0]], fields[self._columns[1]]


def _check_number(keys: Sequence[str], pairs: bool) -> None:
    if len(keys) not in ((0, 2) if pairs else (0, 1)):
        raise UserError(f"{_SETTING}: this student reads {'pairs: give it twice' if pairs else 'single sentences'}, "
                        f"not {len(keys)} keys")


def _is_table(name: str, head: Sequence[bytes], pairs: bool) -> bool:
    """Return whether the first line of a .tsv or .csv names columns, and isn't a text as those below it.

    Commas stand in texts, too: they are a table's if they stand between what looks like names, or if each line has as
    many of them. A name alone must be a usual one.
    """
    lines = [_decoded(line.rstrip(b"\n"), f"{name}:{number}") for number, line in enumerate(head, 1)]
    first = lines[0] if lines else ""
    separator = "\t" if name.lower().endswith(".tsv") else separator_of(first)
    names = [one.strip().strip('"') for one in first.split(separator)]
    outside = re.sub('"[^"]*"', "", "\n".join(lines)).split("\n")  # of quotes, which may go over several lines
    if separator not in outside[0]:
        return not pairs and len(names) == 1 and names[0].lower() in TEXT_COLUMNS
    if pairs:
        return "\t" not in first or known_pair(names, f"{name}:1", _SETTING) is not None
    if separator == "\t" or not outside[0].strip(separator):
        return True
    below = [line for line in outside[1:_HEAD - 1] if line]  # the last line of many may be cut within quotes
    return (all(_COLUMN.fullmatch(one.strip('"')) for one in first.split(separator))
            or bool(below) and {line.count(separator) for line in below} == {outside[0].count(separator)})


def _decoded(line: bytes, place: str) -> str:
    try:
        return line.decode("utf-8").lstrip("\ufeff").rstrip("\r")  # Windows puts a byte-order mark first
    except UnicodeDecodeError as error:
        raise UserError(f"{place}: not UTF-8 (byte 0x{line[error.start]:02x} at column {error.start + 1}); convert the "
                        "input") from None


def _is_json(line: str) -> bool:
    """Return whether a whole line is a JSON object or array: ``'{"text": "a"}' -> True, "[good] film" -> False``."""
    if line.strip()[:1] not in ("{", "["):
        return False
    try:
        json.loads(line)
    except (ValueError, RecursionError):
        return False
    return True


def _value(record: dict[str, Any], key: str, place: str) -> str:
    if is_nested(record, key):
        raise UserError(f"{place}: no text under {key!r}; {FLATTEN}")
    if not isinstance(record.get(key), str):
        raise UserError(f"{place}: no text under {key!r}; name its key with --text-key")
    check_surrogates(record[key], place)
    return record[key]


_CHUNK_BYTES = 1 << 16


def open_input(path: str) -> BinaryIO:
    """Open a file for reading.

    Raises:
        UserError: that can't be done.
    """
    try:
        return open(path, "rb")
    except OSError as error:
        raise UserError(f"{path}: can't be read ({error.strerror}); check --input") from None


def chunks_of(stream: BinaryIO, number: int = 1) -> Iterator[tuple[int, list[bytes]]]:
    """Yield (number of the first line, lines) for whatever has arrived, without waiting for more."""
    started: list[bytes] = []  # pieces of a line that hasn't ended: joined once, however long it is
    while data := stream.read1(_CHUNK_BYTES):
        ended, newline, rest = data.rpartition(b"\n")
        if newline:
            lines = b"".join([*started, ended]).split(b"\n")
            yield number, lines
            number += len(lines)
            started = []
        started.append(rest)
    if any(started):
        yield number, [b"".join(started)]
