"""The lines of an input as texts, or as pairs of texts."""

from __future__ import annotations

import argparse
import json
import os
import sys
from contextlib import ExitStack
from typing import Any, BinaryIO, Iterator, Sequence

from ..errors import UserError
from ..predict.predictor import RUNTIMES, Predictor, Text
from ..text.rows import check_surrogates, known_pair

DEFAULT_KEY = "text"
_SETTING = "--text-key"


class LineReader:
    """Reads plain lines or JSONL; of pairs ``FIRST<TAB>SECOND``, TSV whose first line names the columns, or JSONL.

    Args:
        name: of the input, for messages.
        jsonl: every line is a JSON object.
        pairs: the texts are pairs.
        keys: keys of the objects or, of pairs, columns; empty for the usual names.

    Raises:
        UserError: there are other than two keys for pairs, or more than one for single sentences.
    """

    def __init__(self, name: str, jsonl: bool, pairs: bool, keys: Sequence[str] = ()):
        if len(keys) not in ((0, 2) if pairs else (0, 1)):
            raise UserError(f"--text-key: this student reads {'pairs: give it twice' if pairs else 'single sentences'}"
                            f", not {len(keys)} keys")
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
            raise UserError(f"{place}: not a JSON object ({error}); leave out --jsonl for plain lines") from None
        if not self._pairs:
            return _value(value, (self._keys or (DEFAULT_KEY,))[0], place)
        if not self._keys:
            self._keys = (known_pair(list(value), place, _SETTING) if isinstance(value, dict) else None) or ()
        if not self._keys:
            raise UserError(f"{place}: holds no two texts with usual names, such as sentence1 and sentence2; name "
                            "their keys with --text-key, twice")
        return _value(value, self._keys[0], place), _value(value, self._keys[1], place)

    def _is_header(self, text: str, place: str) -> bool:
        names = text.split("\t")
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


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``predict`` to its subparser."""
    add_model_arguments(parser)
    parser.add_argument("--input", metavar="FILE", help="texts, one a line (pairs: FIRST<TAB>SECOND, or TSV with named "
                        "columns), or JSONL; standard input by default")
    parser.add_argument("--jsonl", action="store_true",
                        help="read JSON objects, one a line (a FILE that ends in .jsonl is read so anyway)")
    parser.add_argument("--text-key", metavar="KEY", action="append", default=[],
                        help="the key of the text in JSONL (text); twice for pairs, whose keys or columns are found by "
                             "their usual names otherwise")


def add_model_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options by which a command builds its `Predictor`."""
    parser.add_argument("output", metavar="OUTPUT", help="an output folder of `paddleslim-bilstm compress`, or a copy")
    parser.add_argument("--runtime", choices=RUNTIMES, help="the best ONNX model in OUTPUT by default")
    parser.add_argument("--threads", type=_count, default=1, help="threads to use (%(default)s)")
    parser.add_argument("--batch-size", type=_count, default=32, help="texts a batch (%(default)s)")


def run(arguments: argparse.Namespace) -> int:
    """Print ``{"text", "label", "probabilities"}`` for each line of the input; return the exit code.

    The text of a pair is a list of two; other tasks have other answers: ``{"score"}``, ``{"labels", "probabilities"}``.

    Raises:
        UserError: the input can't be opened, or a line isn't UTF-8 or isn't the JSON that it should be.
    """
    predictor = Predictor(arguments.output, arguments.runtime, arguments.threads)
    name = arguments.input or "standard input"
    jsonl = arguments.jsonl or name.endswith(".jsonl")
    reader = LineReader(name, jsonl, predictor.pairs, arguments.text_key)
    with ExitStack() as stack:
        stream = stack.enter_context(_open(name)) if arguments.input else sys.stdin.buffer
        try:
            for first_line, lines in _chunks(stream):
                _write(predictor, reader.texts(first_line, lines), arguments.batch_size)
        except BrokenPipeError:  # the reader, such as `head`, has had enough
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


def _count(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} isn't a whole number of at least 1")
    return int(text)


def _open(path: str) -> BinaryIO:
    try:
        return open(path, "rb")
    except OSError as error:
        raise UserError(f"{path}: can't be read ({error.strerror}); check --input") from None


def _chunks(stream: BinaryIO) -> Iterator[tuple[int, list[bytes]]]:
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


def _write(predictor: Predictor, texts: list[Text], batch_size: int) -> None:
    in_ascii = (sys.stdout.encoding or "").lower() not in ("utf-8", "utf8")  # as JSON escapes, where need be
    for text, one in zip(texts, predictor.predict(texts, batch_size)):
        row = {"text": text, **one.as_json(predictor.label_names)}
        sys.stdout.write(json.dumps(row, ensure_ascii=in_ascii) + "\n")
    sys.stdout.flush()
