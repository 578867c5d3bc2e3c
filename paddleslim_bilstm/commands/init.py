"""``paddleslim-bilstm init DATA``: a configuration that suits somebody's data."""

from __future__ import annotations

import argparse
import shlex
from pathlib import Path

from ..errors import UserError
from .evaluate import add_column_arguments, text_column

_EXAMPLES = """\
It says what it has seen and writes a YAML with comments. Columns are found by their names or by what is in them.
The dev set is dev.tsv beside train.tsv, and so on; without one a tenth of DATA is split off.

examples:
  paddleslim-bilstm init data/sst2/train.tsv --teacher teachers/sst2
  paddleslim-bilstm init tickets.csv --output tickets.yaml --label-column queue
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``init`` to ``parser``."""
    parser.epilog = _EXAMPLES
    parser.add_argument("data", metavar="DATA", help="labelled text: .tsv, .csv or .jsonl")
    parser.add_argument("--teacher", metavar="FOLDER", help="the fine-tuned classifier; without it one is fine-tuned")
    parser.add_argument("--output", metavar="FILE", help="the YAML to write; named after DATA by default")
    add_column_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """Write the YAML, and say in five lines what was seen.

    Raises:
        UserError: the data or the teacher can't be read or don't go together, or the YAML is there already.
    """
    from ..config.draft import look_at, write_draft
    path = Path(arguments.output or f"{_name(Path(arguments.data))}.yaml")
    if path.exists():
        raise UserError(f"--output: {path} is there already; name another file")
    look = look_at(arguments.data, arguments.teacher, text_column(arguments.text_column), arguments.label_column)
    path.parent.mkdir(parents=True, exist_ok=True)
    written = write_draft(look, path)
    print("\n".join(look.lines()))
    print(f"Written: {', '.join(map(str, written))}\nNext: paddleslim-bilstm compress {shlex.quote(str(path))}")
    return 0


def _name(data: Path) -> str:
    """Return what a configuration is called: ``data/sst2/train.tsv -> "sst2"``, ``reviews.csv -> "reviews"``."""
    return data.resolve().parent.name if data.stem == "train" else data.stem
