"""How long compressing takes: the tutorial's loop in Paddle as installed, against this package.

    python benchmarks/compression_speed.py --teacher teachers/minilm-sst2 --train data/sst2/train.tsv \
        --dev data/sst2/dev.tsv [--accuracy] [--out times.json]

Both sides augment the same texts in the same number of rounds, and label and train on the same transfer set; both
students have 300 dimensions and units, and dropout 0.2. The
tutorial (`tutorial.py`) gets a sample, in a process with none of our settings; we (`ours.py`) augment everything, and
label and train on a sample. Rates are medians of alternating runs; rates times full counts are what a whole run
takes, and the sums are shown. A product of big bfloat16 matrices is timed beside them (`matrix_rate.py`), for
labelling's share of what the machine can do. `--accuracy` also takes both sides to the end on a few texts; there the
tutorial has our CPU settings, too, which change nothing but its speed.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import sys
import tempfile
from pathlib import Path

from processes import run_child

_HERE = Path(__file__).parent
_TUTORIAL, _OURS, _MATRICES = _HERE / "tutorial.py", _HERE / "ours.py", _HERE / "matrix_rate.py"
_STUDENT = {"embed_dim": 300, "hidden_size": 300, "dropout": 0.2}  # as wide as the tutorial's


def main(arguments: list[str] | None = None) -> None:
    """Run everything and print the tables."""
    options = _parser().parse_args(arguments)
    with tempfile.TemporaryDirectory(dir=options.work) as folder:
        work = Path(folder)
        job = {**vars(options), "work": folder, "classes": _write_texts(options, work), "student": _STUDENT}
        counts = run_child(_OURS, {**job, "do": "prepare"}, tuned=True)
        runs = [_one_run(job) for _ in range(options.runs)]
        found = {"counts": counts, "runs": runs, "summary": summary(counts, runs, options.epochs)}
        if options.accuracy:
            found["accuracy"] = _accuracies(job)
    if options.out:
        Path(options.out).write_text(json.dumps({"options": vars(options), **found}, indent=2) + "\n")
    print(report(found, options.epochs))


def _one_run(job: dict) -> dict[str, dict]:
    """Measure both sides and the machine once, one after another."""
    sample = {"teacher": f"{job['work']}/teacher", "sample": f"{job['work']}/sample.json", "epochs": 1}
    run = {"matrices": run_child(_MATRICES, {"sizes": job["matrix_sizes"]}, tuned=True),
           "tutorial": run_child(_TUTORIAL, {**job, **sample}, tuned=False),
           "ours": run_child(_OURS, {**job, "do": "stages"}, tuned=True)}
    print(json.dumps(run), file=sys.stderr)
    return run


def _accuracies(job: dict) -> dict[str, list[float]]:
    """Return each side's dev accuracy after each epoch, on the same few texts."""
    sample = {"sample": f"{job['work']}/accuracy.json", "n_iter": job["accuracy_rounds"]}
    tutorial = {**job, **sample, "teacher": f"{job['work']}/teacher"}
    return {"tutorial": run_child(_TUTORIAL, tutorial, tuned=True)["accuracies"],
            "ours": run_child(_OURS, {**job, **sample, "do": "accuracies"}, tuned=True)["accuracies"]}


def summary(counts: dict, runs: list[dict], epochs: int) -> dict[str, float]:
    """Return seconds a sentence of each stage, seconds of a whole run, and rates: medians over ``runs``."""
    def median(side: str, seconds: str, sentences: str = "") -> float:
        return statistics.median(run[side][seconds] / (run[side][sentences] if sentences else 1) for run in runs)

    made, distinct = counts["made"], counts["distinct"]
    rates = {"tutorial augment": median("tutorial", "augment_s", "made"),
             "tutorial batch": median("tutorial", "batch_s", "trained"),
             "tutorial label": median("tutorial", "teacher_s", "trained"),
             "tutorial train": median("tutorial", "student_s", "trained"),
             "our augment": median("ours", "augment_s", "made"),
             "our rounds": median("ours", "rounds_s", "made"),
             "our label": median("ours", "label_s", "labelled"),
             "our train": median("ours", "train_s", "trained"),
             "our evaluate": median("ours", "evaluate_s", "steps_between_evaluations")
             / runs[0]["ours"]["batch_size"],
             "our fixed": median("ours", "load_teacher_s") + median("ours", "label_fixed_s")}
    shares = [1e-9 * run["ours"]["flops"] * run["ours"]["labelled"] / run["ours"]["label_s"]
              / run["matrices"]["gflops"] for run in runs]
    return {**rates,
            "tutorial total": made * rates["tutorial augment"] + epochs * distinct * (
                rates["tutorial batch"] + rates["tutorial label"] + rates["tutorial train"]),
            "our total": rates["our fixed"] + made * rates["our augment"] + distinct * (
                rates["our label"] + epochs * (rates["our train"] + rates["our evaluate"])),
            "label gflops": 1e-9 * runs[0]["ours"]["flops"] / rates["our label"],
            "matrix gflops": median("matrices", "gflops"), "label share": statistics.median(shares),
            "tutorial peak MiB": median("tutorial", "peak_mib"), "our peak MiB": median("ours", "peak_mib")}


def report(found: dict, epochs: int) -> str:
    """Return the tables in Markdown."""
    counts, rates, runs = found["counts"], found["summary"], found["runs"]
    made, distinct = counts["made"], counts["distinct"]
    rows = [(f"{stage}, µs a sentence{note}", 1e6 * rates[f"tutorial {key}"], 1e6 * rates[f"our {key}"])
            for stage, note, key in (("augmentation", " made", "augment"), ("labelling", " and pass", "label"),
                                     ("training step", "", "train"))]
    rows.insert(1, ("of it the rounds, once texts are tokenized and tagged", 1e6 * rates["tutorial augment"],
                    1e6 * rates["our rounds"]))
    rows.append((f"end to end, {epochs} epochs, hours", rates["tutorial total"] / 3600, rates["our total"] / 3600))
    lines = [f"| median of {len(runs)} runs | tutorial, Paddle as installed | ours | ratio |", "|---|---:|---:|---:|"]
    lines += [f"| {name} | {slow:,.4g} | {fast:,.4g} | {slow / fast:.1f} |" for name, slow, fast in rows]
    micro = {name: f"{1e6 * rates[name]:,.4g} µs" for name in rates}
    lines += ["", f"{counts['originals']:,} texts, {made:,} sentences made, {distinct:,} distinct, of "
                  f"{counts['tokens']:.1f} tokens.",
              f"Tutorial: {made:,} x {micro['tutorial augment']} + {epochs} x {distinct:,} x ("
              f"{micro['tutorial label']} labelling + {micro['tutorial batch']} batches + "
              f"{micro['tutorial train']} training) = "
              f"{rates['tutorial total']:,.0f} s; its evaluation is left out.",
              f"Ours: {rates['our fixed']:.1f} s to load and check the teacher + {made:,} x {micro['our augment']} + "
              f"{distinct:,} x {micro['our label']} + {epochs} x {distinct:,} x ({micro['our train']} training with "
              f"batches + {micro['our evaluate']} evaluation) = {rates['our total']:,.0f} s.",
              f"Labelling in {runs[0]['ours']['precision']}: {rates['label gflops']:,.0f} GFLOP/s without padding, "
              f"{100 * rates['label share']:.0f} % of the {rates['matrix gflops']:,.0f} GFLOP/s that big "
              f"{runs[0]['matrices']['precision']} matrices reach.",
              f"Peak memory: tutorial {rates['tutorial peak MiB']:,.0f} MiB on its sample, ours "
              f"{rates['our peak MiB']:,.0f} MiB with all texts augmented."]
    if "accuracy" in found:
        lines += [f"Dev accuracy after {len(values)} epochs on a small sample, {side}: {100 * values[-1]:.1f} %, best "
                  f"{100 * max(values):.1f} %." for side, values in found["accuracy"].items()]
    return "\n".join(lines)


def _write_texts(options: argparse.Namespace, work: Path) -> int:
    """Write the training and dev text as JSON, and return the number of classes."""
    from paddleslim_bilstm.text import read_file
    train, dev = read_file(options.train, "--train"), read_file(options.dev, "--dev")
    names = sorted(set(train.labels))
    dev_set = [dev.texts, [names.index(name) for name in dev.labels]]
    few = random.Random(options.seed).sample(train.texts, min(options.accuracy_texts, len(train.texts)))
    (work / "train.json").write_text(json.dumps({"texts": train.texts, "dev": dev_set}))
    (work / "accuracy.json").write_text(json.dumps({"texts": few, "dev": dev_set}))
    return len(names)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("--teacher", "--train", "--dev"):
        parser.add_argument(name, required=True)
    parser.add_argument("--out", help="also write all measurements here, as JSON")
    parser.add_argument("--work", help="folder for temporary files; a few hundred megabytes")
    parser.add_argument("--accuracy", action="store_true", help="also train both sides on a few texts")
    for name, default in (("n-iter", 20), ("epochs", 6), ("runs", 3), ("seed", 0), ("batch-size", 128),
                          ("slow-texts", 1000), ("slow-batches", 12), ("label-sample", 65_536), ("fast-steps", 400),
                          ("matrix-sizes", 5), ("accuracy-texts", 2000), ("accuracy-rounds", 5)):
        parser.add_argument(f"--{name}", type=int, default=default)
    return parser


if __name__ == "__main__":
    main()
