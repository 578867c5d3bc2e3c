"""The lines of an input as texts, or as pairs of texts."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, BinaryIO, Iterator, Sequence

from ..errors import UserError
from ..text.rows import TEXT_COLUMNS, check_surrogates, known_pair
from .predictor import Text

DEFAULT_KEY = "text"
_JSONL = (".jsonl", ".ndjson")
_SETTING = "--text-key"
_COLUMN = re.compile(r"[\w#.-]*( [\w#.-]+)?")


def is_jsonl(name: str) -> bool:
    """Return whether a file of this name holds a JSON object a line."""
    return name.lower().endswith(_JSONL)


class LineReader:
    """Reads plain lines or JSONL; of pairs ``FIRST<TAB>SECOND``, TSV whose first line names the columns, or JSONL.

    Args:
        name: of the input, for messages.
        jsonl: every line is a JSON object; empty ones are passed over, as JSONL has them.
        pairs: the texts are pairs.
        keys: keys of the objects or, of pairs, columns; empty for the usual names.

    Raises:
        UserError: there are other than two keys for pairs, or more than one for single sentences, or one for plain
            lines, which have none.
    """

    def __init__(self, name: str, jsonl: bool, pairs: bool, keys: Sequence[str] = ()):
        if len(keys) not in ((0, 2) if pairs else (0, 1)):
            raise UserError(f"--text-key: this student reads {'pairs: give it twice' if pairs else 'single sentences'}"
                            f", not {len(keys)} keys")
        if keys and not jsonl and not pairs:
            raise UserError(f"--text-key: {name} is read as plain lines, which have no keys; say --jsonl if each is a "
                            "JSON object")
        self._name, self._jsonl, self._pairs, self._keys = name, jsonl, pairs, tuple(keys)
        self._columns: list[int] | None = None  # of TSV, once the first line was seen

    def texts(self, first_line: int, lines: Sequence[bytes]) -> list[Text]:
        """Return the texts of some lines, the next of the input; ``first_line`` counts from 1.

        Raises:
            UserError: a line isn't UTF-8, isn't the JSON or TSV that it should be, or has half a surrogate pair.
        """
        found = []
        for number, line in enumerate(lines, first_line):
            place = f"{self._name}:{number}"
            text = _decoded(line, place)
            if self._jsonl:
                if not text.strip():
                    continue
                found.append(self._of_object(text, place))
            elif not self._pairs:
                if number == 1 and _is_table(self._name, text):
                    raise UserError(f"{place}: names the columns of a table, and plain lines are a text each; give the "
                                    "texts alone as .txt, or rows as .jsonl")
                found.append(text)
            elif self._columns is not None or not self._is_header(text, place):
                found.append(self._of_columns(text, place))
        return found

    def _of_object(self, text: str, place: str) -> Text:
        try:
            value = json.loads(text)
        except (ValueError, RecursionError) as error:
            remedy = "mend the line" if is_jsonl(self._name) else "leave out --jsonl for plain lines"
            raise UserError(f"{place}: not a JSON object ({error}); {remedy}") from None
        if not self._pairs:
            return _value(value, (self._keys or (DEFAULT_KEY,))[0], place)
        if not self._keys:
            self._keys = (known_pair(list(value), place, _SETTING) if isinstance(value, dict) else None) or ()
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


def _is_table(name: str, first_line: str) -> bool:
    """Return whether a file's first line names columns, of one or two words each, one of them a text's."""
    separators = {".tsv": "\t", ".csv": ",;\t"}.get(Path(name).suffix.lower(), "")
    separator = max(separators, key=first_line.count, default="")
    if not separator or separator not in first_line:
        return False
    names = [one.strip().strip('"').lower() for one in first_line.split(separator)]
    return not set(TEXT_COLUMNS).isdisjoint(names) and all(map(_COLUMN.fullmatch, names))


def _decoded(line: bytes, place: str) -> str:
    try:
        return line.decode("utf-8").lstrip("\ufeff").rstrip("\r")  # Windows puts a byte-order mark first
    except UnicodeDecodeError as error:
        raise UserError(f"{place}: not UTF-8 (byte 0x{line[error.start]:02x} at column {error.start + 1}); convert the "
                        "input") from None


def _value(record: Any, key: str, place: str) -> str:
    if not isinstance(record, dict) or not isinstance(record.get(key), str):
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


def chunks_of(stream: BinaryIO) -> Iterator[tuple[int, list[bytes]]]:
    """Yield (number of the first line, lines) for whatever has arrived, without waiting for more."""
    number, started = 1, []  # pieces of a line that hasn't ended: joined once, however long it is
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
