"""``paddleslim-bilstm predict OUTPUT``: lines, TSV or JSONL in, JSONL out, as it comes."""

from __future__ import annotations

import argparse
import json
import os
import sys
from contextlib import ExitStack
from typing import BinaryIO, Iterator

from ..errors import UserError
from .lines import LineReader
from .predictor import RUNTIMES, Predictor, Text

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

    The text of a pair is a list of two; other tasks have other answers, such as ``{"score"}``.

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
