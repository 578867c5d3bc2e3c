"""``paddleslim-bilstm evaluate OUTPUT --data FILE``: the student's accuracy on labelled text."""

from __future__ import annotations

import argparse
import json
import sys
import time

from ..errors import UserError
from ..predict.predictor import Predictor
from ..text import Rows, check_kind, read_file
from .predict import add_model_arguments


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``evaluate`` to its subparser."""
    add_model_arguments(parser)
    parser.add_argument("--data", metavar="FILE", required=True, help="labelled text: .tsv, .csv or .jsonl")
    add_column_arguments(parser)


def add_column_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options by which a command finds text and label in a file."""
    parser.add_argument("--text-column", metavar="NAME", action="append",
                        help="column of the text, where it has no usual name; twice for pairs")
    parser.add_argument("--label-column", metavar="NAME", help="column of the label, where it has no usual name")


def run(arguments: argparse.Namespace) -> int:
    """Print ``{"runtime", "sentences", METRICS, "sentences_per_s"}`` as JSON; return the exit code.

    The metrics are all that the student's task has; where a text has several labels also ``by_label``, the F1 of each.

    Raises:
        UserError: the file can't be read, or its labels aren't those of the student.
    """
    predictor = Predictor(arguments.output, arguments.runtime, arguments.threads)
    task, outputs = predictor.task, len(predictor.label_names)
    rows = read_rows(predictor, arguments, arguments.data, "--data")
    labels = task.scheme(None, rows, outputs, predictor.label_names).ids_of(rows.labels)
    predictor.logits(rows.texts[:arguments.batch_size], arguments.batch_size)  # warms up: jieba reads its dictionary
    start = time.perf_counter()
    found = task.answers_of(predictor.logits(rows.texts, arguments.batch_size))
    seconds = time.perf_counter() - start
    scores = {metric.name: metric.of(labels, found, outputs) for metric in task.metrics}
    if by_label := task.label_scores(labels, found):
        scores["by_label"] = dict(zip(predictor.label_names, by_label))
    json.dump({"runtime": predictor.runtime, "sentences": len(labels), **scores,
               "sentences_per_s": round(len(labels) / seconds, 1)}, sys.stdout)
    sys.stdout.write("\n")
    return 0


def read_rows(predictor: Predictor, arguments: argparse.Namespace, file: str, setting: str,
              with_labels: bool = True, columns_of: str = "") -> Rows:
    """Return the rows of ``file``, of the student's kind; `add_column_arguments` tells where its columns are, or those
    of ``columns_of``.

    Raises:
        UserError: the file can't be read, or has pairs for a student of single sentences or the other way round.
    """
    rows = read_file(file, setting, text_column=text_column(arguments.text_column),
                     label_column=arguments.label_column, with_labels=with_labels, task=predictor.task,
                     columns_of=columns_of)
    rows.labels_of = "student"
    check_kind(rows, predictor.pairs, "the texts of this student", "--text-column")
    return rows


def text_column(names: list[str] | None) -> str | tuple[str, str] | None:
    """Return what ``--text-column`` names: nothing, a column, or the two of pairs."""
    if names is None or len(names) == 1:
        return names and names[0]
    if len(names) > 2:
        raise UserError(f"--text-column: is given {len(names)} times; a pair has two columns")
    return names[0], names[1]
