"""``paddleslim-bilstm explain OUTPUT``: the texts on which a student says something else than its teacher."""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
from typing import Any

from ..errors import UserError
from ..stopping import end_on_sigterm
from ..storage import make_writable_folder, read_json, whole_file
from .evaluate import add_column_arguments, read_rows
from .predict import add_model_arguments

MOST_CASES = 500  # of each list in the page; the JSONL has all
JSONL, PAGE = "disagreements.jsonl", "disagreements.html"

_EXAMPLES = f"""\
It asks student and teacher and writes {JSONL} (each text with its gold label, both answers and how sure
the teacher was, the surest first) and {PAGE}, the same to look at.

examples:
  paddleslim-bilstm explain output/sst2
  paddleslim-bilstm explain output/sst2 --data new.tsv --to looked_at
  paddleslim-bilstm explain output/sst2 --data texts.txt --unlabeled
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``explain`` to its subparser."""
    parser.epilog = _EXAMPLES
    add_model_arguments(parser)
    parser.add_argument("--data", metavar="FILE", help="text: .tsv, .csv or .jsonl; the run's dev_file by default")
    add_column_arguments(parser)
    parser.add_argument("--unlabeled", action="store_true", help="the texts have no labels (also .txt, one a line)")
    parser.add_argument("--teacher", metavar="FOLDER", help="the run's Global.model_dir, if it lies elsewhere now")
    parser.add_argument("--to", metavar="FOLDER", help="where to write; OUTPUT by default")


def run(arguments: argparse.Namespace) -> int:
    """Write the two files, and say how many texts they tell of.

    Raises:
        UserError: the run's report, the teacher or the data can't be read, or they don't go together.
    """
    end_on_sigterm()
    output = Path(arguments.output)
    settings = _settings(output, arguments.teacher)
    data = arguments.data or settings.get("dev_file")
    if data is None:
        raise UserError(f"--data: missing; {output} was made without a dev_file, so name a file of texts")
    names_its_columns = arguments.data is not None or arguments.text_column or arguments.label_column
    columns_of = "" if names_its_columns else "the training text"
    if arguments.data is None:
        _take_columns(arguments, settings)
    elif arguments.unlabeled and arguments.label_column:
        raise UserError("--label-column: the texts have no labels (--unlabeled); leave it out")
    folder = make_writable_folder(arguments.to or output, "--to")
    from ..host.versions import before_paddle
    before_paddle()
    from ..pipeline import compare
    from ..predict.predictor import Predictor
    from ..report.page import comparison_page, told
    end_on_sigterm()  # Paddle has put its own handler in place
    predictor = Predictor(output, arguments.runtime, arguments.threads)
    rows = read_rows(predictor, arguments, data, "--data", not arguments.unlabeled, columns_of)
    comparison = compare(predictor, {"Global": settings, "bert_to_bilstm": {}}, rows, arguments.batch_size)
    with whole_file(folder / JSONL) as partial, open(partial, "w", encoding="utf-8") as file:
        for index in comparison.disagreements:
            file.write(json.dumps(comparison.case(int(index)), ensure_ascii=False) + "\n")
    with whole_file(folder / PAGE) as partial:
        page = comparison_page(comparison, f"{output.resolve().name} and its teacher", MOST_CASES)
        partial.write_text(page, encoding="utf-8")
    print(f"{told(comparison)}\n{folder / JSONL}\n{folder / PAGE}")
    return 0


def _take_columns(arguments: argparse.Namespace, settings: dict[str, Any]) -> None:
    """Read the run's own file as the run has read it."""
    columns = settings.get("text_column")
    arguments.text_column = arguments.text_column or ([columns] if isinstance(columns, str) else columns)
    arguments.label_column = arguments.label_column or settings.get("label_column")


def _settings(output: Path, teacher: str | None) -> dict[str, Any]:
    """Return the section ``Global`` of the run that has written ``output``, with a teacher that is there."""
    if not (output / "report.json").is_file():
        raise UserError(f"{output}: holds no report.json; name an output folder of `paddleslim-bilstm compress`")
    found = read_json(output / "report.json", "name an output folder of `paddleslim-bilstm compress`")
    try:
        settings = {key: value for key, value in found["config"]["Global"].items() if value is not None}
        places = [teacher] if teacher else settings.get("model_dir") or []
    except (KeyError, TypeError, AttributeError):
        raise UserError(f"{output}/report.json: has no settings; compress again") from None
    if not places:
        raise UserError(f"{output}: its teacher is no model that can be asked again; name one with --teacher")
    places = [places] if isinstance(places, str) else places
    gone = [place for place in places if not os.path.exists(place)]
    if gone:
        raise UserError(f"{gone[0]}: the teacher of {output} is no longer there; name where it is with --teacher")
    for unneeded in ("train_file", "unlabeled_file", "dataset", "plugins", "teacher_labels"):
        settings.pop(unneeded, None)
    return {**settings, "model_dir": places[0] if len(places) == 1 else places}
