"""How good the student is: teacher, Bi-LSTM alone, the tutorial's recipe, ours, and what each ingredient is worth.

    python benchmarks/quality.py --output output/quality [--seeds 0 1 2] [--only default tutorial] [--held-out 1500]
        [--override DataAugmentation.n_iter=5]

Run it from the folder that holds data/ and teachers/ as the configs name them. Each row is a whole `compress` with
one setting changed. With several seeds, augmentation, first weights and the order of batches all change; with
`--same-text` all seeds share the transfer set of seed 0 and its labels, which a slow teacher makes once. What is done
is kept in OUTPUT/results.json, so the same command goes on where it was stopped; at the end it prints the table, and
draws what each size of the student costs, beside what others have published (OUTPUT/frontier.png). `--override` changes
a setting of all rows but those that are about it, so that an ablation need not take a night; give it an OUTPUT of its
own.

`--held-out N` judges on N sentences taken out of the training file instead of the dev file, whole ones: none is a piece
of another (SST-2's training texts are sentences and their phrases). What is only a piece of those is taken out of
training as well. Their words are as new to the student as the dev file's. Decide by those, report by the dev file.
With `--rows N` only N rows of the rest are left to train on, as of a task with little data, and with `--unlabeled M`
the texts of M others beside them, whose labels nobody sees.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections import defaultdict
from pathlib import Path

import numpy as np
from frontier import Point, draw_frontier

CONFIGS = Path(__file__).resolve().parent.parent / "configs"
_HOOKS = {"masking": "{masking: {p_mask: 0.1}}", "word replacement": "{pos_replacement: {p_pos: 0.1}}",
          "n-grams": "{ngram_sampling: {p_ng: 0.25, ngram_range: [2, 6]}}", "crossover": "{crossover: {p_cross: 0.5}}"}


def _student(**settings: object) -> tuple[str, list[str]]:
    return "sst2.yaml", [f"bert_to_bilstm.student.{name}={value}" for name, value in settings.items()]


def _rate(first: float) -> str:
    return f"TrainConfig.learning_rate={{type: PolynomialDecay, learning_rate: {first}, end_lr: 0.0}}"


def _hooks_without(name: str) -> str:
    kept = [hook for other, hook in _HOOKS.items() if other != name]
    return f"DataAugmentation.hooks=[{', '.join(kept)}]"


VARIANTS = {  # name -> (config, overrides)
    "default": ("sst2.yaml", []),
    "tutorial": ("tutorial_sst2.yaml", []),
    "300 units": _student(embed_dim=300, hidden_size=300),
    "75 units": _student(embed_dim=300, hidden_size=75),
    "two layers": _student(num_layers=2),
    "two layers, 2 epochs": ("sst2.yaml", ["bert_to_bilstm.student.num_layers=2", "TrainConfig.epochs=2"]),
    "two layers, 100 rounds": ("sst2.yaml", ["bert_to_bilstm.student.num_layers=2", "DataAugmentation.n_iter=100"]),
    "last states alone": _student(pooling="last"),
    "random embeddings": _student(embeddings="random"),
    "no hints": ("sst2.yaml", ["bert_to_bilstm.hint_weight=0"]),
    "no unseen tokens": _student(unseen_tokens=0),
    "32 dimensions": _student(embed_dim=32),
    "int8 embedding": ("sst2.yaml", ["QuantBiLSTM.units_per_byte=1"]),
    "4 units a byte": ("sst2.yaml", ["QuantBiLSTM={units_per_byte: 4, max_accuracy_drop: 1}"]),
    "6 units a byte": ("sst2.yaml", ["QuantBiLSTM={units_per_byte: 6, max_accuracy_drop: 1}"]),
    **{f"no {name}": ("sst2.yaml", [_hooks_without(name)]) for name in _HOOKS},
    # about as many batches as the default takes at full size
    "no augmentation": ("sst2.yaml", ["DataAugmentation.n_iter=0", "TrainConfig.epochs=70"]),
    "5 rounds": ("sst2.yaml", ["DataAugmentation.n_iter=5", "TrainConfig.epochs=13"]),
    "10 rounds": ("sst2.yaml", ["DataAugmentation.n_iter=10"]),
    "dropout 0.2": _student(dropout=0.2),
    "2 epochs": ("sst2.yaml", ["TrainConfig.epochs=2"]),
    "2 epochs, rate 0.002": ("sst2.yaml", ["TrainConfig.epochs=2", _rate(0.002)]),
    "rate 0.002": ("sst2.yaml", [_rate(0.002)]),
    "rate 0.008": ("sst2.yaml", [_rate(0.008)]),
}
_FRONTIER = ("default", "int8 embedding", "4 units a byte", "6 units a byte")
_COLUMNS = {  # figure -> title, factor
    "distilled": ("accuracy %", 100), "mse": ("MSE to the teacher's logits", 1),
    "agreement": ("agrees with the teacher %", 100),
    "where the teacher errs": ("accuracy where the teacher errs %", 100), "int8": ("int8 accuracy %", 100),
    "int8 agreement": ("int8 agrees %", 100), "int8 mse": ("int8 MSE", 1)}


def main() -> None:
    """Run what isn't done yet and print the table."""
    parser = _parser()
    arguments = parser.parse_args()
    for option, wants in (("rows", "held_out"), ("unlabeled", "rows")):
        if getattr(arguments, option) and not getattr(arguments, wants):
            parser.error(f"--{option}: takes from what --{wants.replace('_', '-')} leaves; give that, too")
    arguments.output.mkdir(parents=True, exist_ok=True)
    results_file = arguments.output / "results.json"
    results = json.loads(results_file.read_text()) if results_file.is_file() else {}
    data = _held_out(arguments) if arguments.held_out else []
    for name in arguments.only or VARIANTS:
        for seed in arguments.seeds:
            key = f"{name}, seed {seed}{_suffix(arguments)}"
            if key not in results:
                drawn, own = (0, [f"bert_to_bilstm.seed={seed}"]) if arguments.same_text else (seed, [])
                command = [sys.executable, __file__, "--output", str(arguments.output), "--variant", name, "--seed",
                           str(drawn), *(f"--override={one}" for one in [*data, *own, *arguments.override])]
                subprocess.run(command, check=True)
                results[key] = json.loads((arguments.output / "last.json").read_text())
                results_file.write_text(json.dumps(results, indent=2) + "\n")
    groups = _groups(results, arguments)
    draw_frontier(_points(groups), arguments.output / "frontier.png")
    print(_table(groups))


def _run_one(name: str, seed: int, overrides: list[str], output: Path) -> None:
    """Compress once and write the figures to ``last.json``."""
    from paddleslim_bilstm import Predictor, compress
    from paddleslim_bilstm.text import read_file

    config, changes = VARIANTS[name]
    begin = time.perf_counter()
    result = compress(CONFIGS / config, overrides=[
        f"Global.seed={seed}", f"Global.save_dir={output / 'run'}", f"Global.cache_dir={output / 'cache'}",
        f"bert_to_bilstm.train_alone={'true' if name == 'default' else 'false'}", *overrides, *changes])
    seconds = time.perf_counter() - begin
    report = json.loads((result.save_dir / "report.json").read_text())
    rows = {row["name"]: row for row in report["models"]}
    settings = report["config"]["Global"]
    dev = read_file(settings["dev_file"], "Global.dev_file", text_column=None, label_column=None, with_labels=True)
    predictor = Predictor(result.save_dir, "onnx")
    logits, teacher_logits = predictor.logits(dev.texts), _teacher_logits(settings, dev.texts)
    names = list(predictor.label_names)
    truth = np.array([names.index(label) if label in names else int(label) for label in dev.labels])
    errs = teacher_logits.argmax(-1) != truth
    figures = {"models": report["models"], "seconds": seconds, "teacher": rows["teacher"]["accuracy"],
               "distilled": rows["distilled"]["accuracy"], "agreement": rows["distilled"]["agreement"],
               "mse": float(np.mean((logits - teacher_logits) ** 2)),
               "where the teacher errs": float((logits.argmax(-1) == truth)[errs].mean())}
    if "Bi-LSTM alone" in rows:
        figures["alone"] = rows["Bi-LSTM alone"]["accuracy"]
    if "QuantBiLSTM" in rows:
        rounded = Predictor(result.save_dir, "onnx-int8").logits(dev.texts)
        figures.update({"int8": rows["QuantBiLSTM"]["accuracy"], "int8 agreement": rows["QuantBiLSTM"]["agreement"],
                        "int8 mse": float(np.mean((rounded - teacher_logits) ** 2))})
    (output / "last.json").write_text(json.dumps(figures))


def _teacher_logits(settings: dict, texts: list[str]) -> np.ndarray:
    from paddleslim_bilstm.cpu import physical_cores
    from paddleslim_bilstm.teacher import InferenceModel, load_teacher, logits_of

    teacher = load_teacher(settings["model_dir"], Path(settings["cache_dir"]) / "teachers")
    limit = settings["max_seq_length"] - 2
    return logits_of(InferenceModel(teacher.prefix, physical_cores()), teacher.tokenizer.encode(texts).truncate(limit),
                     teacher.framing)


_SHORTEST_HELD = 8  # words


def _wholes(texts: list[str]) -> list[list[int]]:
    """Return for each text the rows of the whole texts that it is a piece of, or its own; texts have spaces around."""
    of_word, found = defaultdict(list), {}
    for row in sorted(range(len(texts)), key=lambda row: -len(texts[row])):
        words = texts[row].split()
        rarest = min((of_word[word] for word in words), key=len, default=[])
        if texts[row] not in found:
            found[texts[row]] = [whole for whole in rarest if texts[row] in texts[whole]] or [row]
            if found[texts[row]] == [row]:
                for word in set(words):
                    of_word[word].append(row)
    return [found[text] for text in texts]


def _held_out(arguments: argparse.Namespace) -> list[str]:
    """Split the training file of configs/sst2.yaml and return the overrides that name the parts."""
    folder = arguments.output / f"held_out_{arguments.held_out}"
    if not (folder / "dev.tsv").is_file():
        header, *lines = Path("data/sst2/train.tsv").read_text(encoding="utf-8").splitlines()
        texts = [f" {line.rsplit(chr(9), 1)[0].strip()} " for line in lines]
        wholes = _wholes(texts)
        long = sorted({row for rows in wholes for row in rows if len(texts[row].split()) >= _SHORTEST_HELD})
        held = set(np.random.default_rng(0).permutation(long)[:arguments.held_out].tolist())
        keep = [line for line, rows in zip(lines, wholes) if not held.issuperset(rows)]
        folder.mkdir(parents=True, exist_ok=True)
        for name, chosen in (("train.tsv", keep), ("dev.tsv", [lines[row] for row in sorted(held)])):
            (folder / name).write_text("\n".join([header, *chosen]) + "\n", encoding="utf-8")
    train, unlabeled = folder / "train.tsv", []
    if arguments.rows:
        header, *lines = train.read_text(encoding="utf-8").splitlines()
        order = np.random.default_rng(0).permutation(len(lines))
        train = folder / f"train_{arguments.rows}.tsv"
        labelled = [lines[row] for row in np.sort(order[:arguments.rows])]
        train.write_text("\n".join([header, *labelled]) + "\n", encoding="utf-8")
        if arguments.unlabeled:
            texts = [lines[row].rsplit("\t", 1)[0] for row in order[arguments.rows:][:arguments.unlabeled]]
            file = folder / f"unlabeled_{arguments.unlabeled}.txt"
            file.write_text("\n".join(texts) + "\n", encoding="utf-8")
            unlabeled = [f"Global.unlabeled_file={file}"]
    return [f"Global.train_file={train}", f"Global.dev_file={folder / 'dev.tsv'}", *unlabeled]


def _suffix(arguments: argparse.Namespace) -> str:
    """Return what is behind the seed in the key of a run."""
    rows = f", of {arguments.rows} rows" if arguments.rows else ""
    rows += f" and {arguments.unlabeled} unlabelled" if arguments.unlabeled else ""
    held_out = f", held out {arguments.held_out}{rows}" if arguments.held_out else ""
    return f"{held_out}, same text" if arguments.same_text else held_out


def _groups(results: dict[str, dict], arguments: argparse.Namespace) -> dict[str, list[dict]]:
    """Return the runs of each variant, seed by seed."""
    suffix = _suffix(arguments)
    return {name: [results[key] for seed in arguments.seeds if (key := f"{name}, seed {seed}{suffix}") in results]
            for name in VARIANTS}


def _points(groups: dict[str, list[dict]]) -> list[Point]:
    """Return the teacher, the Bi-LSTM alone and the int8 students of each size: means over seeds, median latencies."""
    from paddleslim_bilstm.report.measure import ALONE, TEACHER

    def point(runs: list[dict], row: str, name: str, kind: str) -> list[Point]:
        found = [one for run in runs for one in run["models"] if one["name"] == row]
        if not found:
            return []
        return [Point(name, 100 * float(np.mean([one["accuracy"] for one in found])), found[0]["size_bytes"] / 1e6,
                      statistics.median(one["latency_ms"]["p50"] for one in found), kind)]

    everything = [run for runs in groups.values() for run in runs]
    return [*point(everything, TEACHER, TEACHER, "teacher"), *point(groups["default"], ALONE, ALONE, "alone"),
            *(one for name in _FRONTIER for one in point(groups[name], "QuantBiLSTM", name, "ours"))]


def _table(groups: dict[str, list[dict]]) -> str:
    first = next(runs[0] for runs in groups.values() if runs)
    lines = ["| recipe | runs | " + " | ".join(title for title, _ in _COLUMNS.values()) + " | minutes |",
             "|---|---:|" + "---:|" * (len(_COLUMNS) + 1),
             f"| teacher | | {100 * first['teacher']:.1f} | 0 | 100 | 0 " + "| " * (len(_COLUMNS) - 3) + "|"]
    alone = [100 * run["alone"] for runs in groups.values() for run in runs if "alone" in run]
    if alone:
        lines.append(f"| Bi-LSTM alone | {len(alone)} | {_spread(alone)} " + "| " * len(_COLUMNS) + "|")
    for name, runs in groups.items():
        if runs:
            cells = [_spread([factor * run[key] for run in runs if key in run], digits=1 if factor == 100 else 3)
                     for key, (_, factor) in _COLUMNS.items()]
            minutes = np.median([run["seconds"] for run in runs]) / 60
            lines.append(f"| {name} | {len(runs)} | " + " | ".join(cells) + f" | {minutes:.0f} |")
    return "\n".join(lines)


def _spread(values: list[float], digits: int = 1) -> str:
    if not values:
        return ""
    return f"{np.mean(values):.{digits}f}" + (f" ± {np.std(values, ddof=1):.{digits}f}" if len(values) > 1 else "")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True, help="folder for results, caches and the last run")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--same-text", action="store_true", help="seeds are the student's alone")
    parser.add_argument("--only", nargs="+", choices=VARIANTS, help="these rows instead of all")
    parser.add_argument("--held-out", type=int, help="judge on so many held-out training sentences")
    parser.add_argument("--rows", type=int, help="train on so many of the rows that --held-out leaves")
    parser.add_argument("--unlabeled", type=int, help="so many of the rows that --rows leaves, without their labels")
    parser.add_argument("--override", action="append", default=[], help="a setting for all rows, Section.key=value")
    parser.add_argument("--variant", choices=VARIANTS, help=argparse.SUPPRESS)
    parser.add_argument("--seed", type=int, help=argparse.SUPPRESS)
    return parser


if __name__ == "__main__":
    _arguments = _parser().parse_args()
    if _arguments.variant:
        _run_one(_arguments.variant, _arguments.seed, _arguments.override, _arguments.output)
    else:
        main()
