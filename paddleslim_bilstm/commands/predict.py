"""``paddleslim-bilstm predict OUTPUT``: the answer to each text of an input, or of many files."""

from __future__ import annotations

import argparse
import json
import os
import sys
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import BinaryIO

from ..errors import UserError
from ..predict.lines import open_input, texts_of
from ..predict.predictor import RUNTIMES, Predictor, Text

_EXAMPLES = """\
examples:
  paddleslim-bilstm predict output/sst2 --input reviews.txt
  paddleslim-bilstm predict output/sst2 --input 'shards/*.jsonl' --output answers --processes 8
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``predict`` to its subparser."""
    add_model_arguments(parser)
    parser.epilog = _EXAMPLES
    parser.add_argument("--input", metavar="FILE", help="texts, one a line (pairs: FIRST<TAB>SECOND), TSV or CSV with "
                        "named columns, or JSONL; standard input by default; with --output also Parquet, a folder, or "
                        "a pattern of many files in quotes")
    parser.add_argument("--output", metavar="FOLDER", dest="answers", help="write the answers to each file of the "
                        "input there instead of printing them; the same command goes on where it was interrupted")
    parser.add_argument("--processes", type=_count, default=1, help="processes that share the files (%(default)s)")
    parser.add_argument("--jsonl", action="store_true",
                        help="read JSON objects, one a line (a FILE that ends in .jsonl or .ndjson is read so anyway)")
    parser.add_argument("--text-key", metavar="KEY", action="append", default=[],
                        help="the key of the text in JSONL (text), or its column in TSV or CSV, where it has no usual "
                             "name; twice for pairs, whose keys or columns are found by their usual names otherwise")


def add_model_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options by which a command builds its `Predictor`."""
    parser.add_argument("output", metavar="OUTPUT", help="an output folder of `paddleslim-bilstm compress`, or a copy")
    parser.add_argument("--runtime", choices=RUNTIMES, help="the best ONNX model in OUTPUT by default")
    parser.add_argument("--threads", type=_count, default=1, help="threads to use (%(default)s)")
    parser.add_argument("--batch-size", type=_count, default=16, help="texts a batch (%(default)s)")


def run(arguments: argparse.Namespace) -> int:
    """Print ``{"text", "label", "probabilities"}`` for each line of the input; return the exit code.

    The text of a pair is a list of two; other tasks have other answers: ``{"score"}``, ``{"labels", "probabilities"}``.

    Raises:
        UserError: the input can't be opened, or a line isn't UTF-8 or isn't the JSON that it should be.
    """
    if arguments.answers is not None:
        return _answer_files(arguments)
    if arguments.processes > 1:
        raise UserError("--processes: share files, so name their folder as --output")
    if (arguments.input or "").endswith(".parquet"):
        raise UserError(f"--input: {arguments.input} is Parquet: name a folder for its answers as --output")
    if arguments.input is None and sys.stdin is None:
        raise UserError("--input: missing, and standard input is closed; name a file of texts")
    predictor = Predictor(arguments.output, arguments.runtime, arguments.threads)
    name = arguments.input or "standard input"
    with ExitStack() as stack:
        stream = stack.enter_context(open_input(name)) if arguments.input else _standard_input()
        for texts in texts_of(stream, name, arguments.jsonl, predictor.pairs, arguments.text_key):
            _write(predictor, texts, arguments.batch_size)
    return 0


def _standard_input() -> BinaryIO:
    """Return standard input; what is not there yet is waited for, though whoever opened it asked for no waiting."""
    with suppress(AttributeError, OSError, ValueError):  # of Windows, or no file
        os.set_blocking(sys.stdin.fileno(), True)
    return sys.stdin.buffer


def _answer_files(arguments: argparse.Namespace) -> int:
    from ..predict.shards import ShardJob, answer_shards, inputs_of
    from ..stopping import end_on_sigterm
    if arguments.input is None:
        raise UserError("--input: missing; name the files that --output is for")
    end_on_sigterm()
    job = ShardJob(arguments.output, arguments.runtime, arguments.threads, arguments.batch_size, arguments.jsonl,
                   tuple(arguments.text_key), Path(arguments.answers))
    summary = answer_shards(job, inputs_of(arguments.input, job.folder), arguments.processes)
    if summary is not None:  # the last of several ranks
        print(json.dumps(summary, ensure_ascii=False))
    return 0


def _count(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} isn't a whole number of at least 1")
    return int(text)


def _write(predictor: Predictor, texts: list[Text], batch_size: int) -> None:
    in_ascii = (sys.stdout.encoding or "").lower() not in ("utf-8", "utf8")  # as JSON escapes, where need be
    for text, one in zip(texts, predictor.predict(texts, batch_size)):
        row = {"text": text, **one.as_json(predictor.label_names)}
        sys.stdout.write(json.dumps(row, ensure_ascii=in_ascii) + "\n")
    sys.stdout.flush()
