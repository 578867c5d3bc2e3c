"""Whether time and memory of each stage stay bounded as the text grows.

    python benchmarks/scaling.py --tokenizer teachers/minilm-sst2 --train data/sst2/train.tsv \
        [--sizes 10000 100000 1000000 5000000] [--out scaling.json]

Each size runs in a process of its own, stage by stage as `paddleslim-bilstm compress` does: read and tokenize SIZE
texts, augment them in 20 rounds, label the first SIZE sentences of the transfer set, train on those for some steps.
The texts are made up: words of TRAIN by frequency, as many as a text of TRAIN has. The teacher is made up, too (one
layer, 64 units, random weights), or else labelling would take hours and measure nothing but the teacher. A stage's
peak memory is that of the process in that stage, with all that earlier stages keep and with mapped files.

    python benchmarks/scaling.py --tokenizer teachers/minilm-sst2 --train data/sst2/train.tsv --ranks 1 2

measures several ranks under Paddle's launcher instead, one core each, with the BERT in the folder of --tokenizer as
their teacher: how many sentences they label and train on in a second, the processors' time a sentence (rank 0's, times
the ranks; it tells more where others share the cores), and what a rank adds to a sum, and so sends at least, in a
training step.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import Iterator

import numpy as np
from processes import answer, forget_peak, peak_mib, run_child

_TEXTS_AT_A_TIME = 100_000
_TEACHER_LAYERS, _TEACHER_UNITS = 1, 64
_STAGES = {"read": "text", "augment": "sentence made", "label": "sentence", "train": "sentence"}


def main(arguments: list[str] | None = None) -> None:
    """Run all sizes and print the table."""
    options = _parser().parse_args(arguments)
    found = {}
    if options.ranks:
        print(rank_table(measure_ranks(options)))
        return
    with tempfile.TemporaryDirectory(dir=options.work) as folder:
        job = {**vars(options), "work": folder}
        run_child(__file__, {**job, "do": "make_teacher"}, tuned=True)
        for size in options.sizes:
            run_child(__file__, {**job, "do": "make_texts", "size": size}, tuned=True)
            found[size] = run_child(__file__, {**job, "do": "run_stages", "size": size}, tuned=True)
    if options.out:
        Path(options.out).write_text(json.dumps({"options": vars(options), "sizes": found}, indent=2) + "\n")
    print(table(found))


def table(found: dict[int, dict]) -> str:
    """Return microseconds a sentence and peak memory of each stage, in Markdown."""
    lines = ["| texts | " + " | ".join(f"{stage}: µs a {unit} | MiB" for stage, unit in _STAGES.items())
             + " | training starts after, s | distinct sentences |", "|---:|" + "---:|" * (2 * len(_STAGES) + 2)]
    for size, stages in found.items():
        cells = [f"{1e6 * stages[stage]['s'] / stages[stage]['sentences']:,.2f} | {stages[stage]['mib']:,.0f}"
                 for stage in _STAGES]
        lines.append(f"| {size:,} | " + " | ".join(cells) + f" | {stages['train_start_s']:.1f} "
                                                            f"| {stages['distinct']:,} |")
    return "\n".join(lines)


def measure_ranks(options: argparse.Namespace) -> dict[int, dict]:
    """Run the same labelling and training by each number of ranks, and return what each has found."""
    found, allowed = {}, sorted(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory(dir=options.work) as folder:
        job = {**vars(options), "work": folder, "teacher": str(Path(options.tokenizer).resolve()), "n_iter": 1,
               "label": options.sizes[0], "chunk": max(options.sizes[0] // 16, 1), "size": options.sizes[0]}
        run_child(__file__, {**job, "do": "make_texts"}, tuned=True)
        for count in options.ranks:
            own = Path(folder) / f"ranks-{count}"
            own.mkdir()
            one = {**job, "folder": str(own), "found": str(own / "found.json")}
            os.sched_setaffinity(0, allowed[:count])  # the ranks share them, see `cpu.keep_to_own_cores`
            try:
                subprocess.run([sys.executable, "-m", "paddle.distributed.launch", "--nproc_per_node", str(count),
                                "--log_dir", str(own / "log"), str(Path(__file__).with_name("by_ranks.py")),
                                json.dumps(one)], check=True, stdout=sys.stderr)
            finally:
                os.sched_setaffinity(0, allowed)
            found[count] = json.loads((own / "found.json").read_text())
            print(count, found[count], file=sys.stderr)
    if options.out:
        Path(options.out).write_text(json.dumps({"options": vars(options), "ranks": found}, indent=2) + "\n")
    return found


def rank_table(found: dict[int, dict]) -> str:
    """Return what ranks have done in a second, in Markdown."""
    lines = ["| ranks | labelled/s | processors, µs a sentence | trained/s | processors, µs a sentence "
             "| kB a rank and step |", "|---:|---:|---:|---:|---:|---:|"]
    for count, of in found.items():
        cells = [f"{of[stage]['sentences'] / of[stage]['s']:,.0f} | "
                 f"{1e6 * of[stage]['cpu_s'] * count / of[stage]['sentences']:,.0f}" for stage in ("label", "train")]
        lines.append(f"| {count} | {' | '.join(cells)} | {of['train']['sent_bytes'] / 1e3:,.0f} |")
    return "\n".join(lines)


def make_teacher(job: dict) -> dict:
    """Write a small BERT with random weights beside the tokenizer's files."""
    import paddle
    from paddlenlp.transformers import BertConfig, BertForSequenceClassification

    from paddleslim_bilstm.tokens import TOKENIZER_FILES
    folder = Path(job["work"]) / "teacher"
    folder.mkdir()
    paddle.disable_static()
    model = BertForSequenceClassification(BertConfig(
        num_hidden_layers=_TEACHER_LAYERS, hidden_size=_TEACHER_UNITS, num_attention_heads=_TEACHER_UNITS // 64,
        intermediate_size=4 * _TEACHER_UNITS, num_labels=2))
    model.eval()
    feeds = [paddle.static.InputSpec([None, None], "int64", name) for name in ("input_ids", "token_type_ids")]
    paddle.jit.save(paddle.jit.to_static(model, feeds), str(folder / "model"))
    for name in TOKENIZER_FILES:
        if (Path(job["tokenizer"]) / name).is_file():
            shutil.copyfile(Path(job["tokenizer"]) / name, folder / name)
    return {}


def make_texts(job: dict) -> dict:
    """Write a training file with ``size`` texts and a small dev file."""
    from paddleslim_bilstm.text import read_file
    texts = read_file(job["train"], "--train", with_labels=False).texts
    words = np.array(" ".join(texts).split(), object)
    lengths = np.array([len(text.split()) for text in texts])
    rng = np.random.default_rng(job["seed"])
    for name, size in (("train", job["size"]), ("dev", 100)):
        with open(Path(job["work"]) / f"{name}.tsv", "w", encoding="utf-8") as file:
            file.write("sentence\tlabel\n")
            for start in range(0, size, _TEXTS_AT_A_TIME):
                drawn = rng.choice(lengths, min(_TEXTS_AT_A_TIME, size - start))
                parts = np.split(words[rng.integers(0, len(words), drawn.sum())], np.cumsum(drawn)[:-1])
                file.writelines(f"{' '.join(part)}\t{number % 2}\n" for number, part in enumerate(parts))
    return {}


def run_stages(job: dict) -> dict:
    """Run the stages on ``size`` texts, and return seconds, sentences and peak memory of each."""
    import paddle
    from ours import Windows, distil, part, settings_of

    from paddleslim_bilstm.cpu import give_back_freed_memory, physical_cores
    from paddleslim_bilstm.stages import make_transfer_set
    from paddleslim_bilstm.teacher import label, load_teacher
    from paddleslim_bilstm.teacher.text import read_training_text
    paddle.enable_static()
    found: dict = {}

    @contextmanager
    def stage(name: str, sentences: int) -> Iterator[None]:
        forget_peak()
        start = time.perf_counter()
        yield
        give_back_freed_memory()
        found[name] = {"s": time.perf_counter() - start, "mib": peak_mib(), "sentences": sentences}
        print(job["size"], name, found[name], file=sys.stderr)

    with tempfile.TemporaryDirectory(dir=job["work"]) as name:
        folder, work = Path(name), Path(job["work"])
        paths = {key: str(work / f"{key}.tsv") for key in ("train", "dev")}
        settings = settings_of(job, Global={"train_file": paths["train"], "dev_file": paths["dev"]},
                               TrainConfig={"train_iter": 2 * job["steps"], "eval_iter": job["steps"]})
        teacher = load_teacher(work / "teacher", folder)
        with stage("read", job["size"]):
            text = read_training_text(settings, teacher)
        with stage("augment", job["size"] * (job["n_iter"] + 1)):
            made = make_transfer_set(settings, teacher, text, folder)
        found["distinct"] = len(made.sentences)
        first = part(made, np.arange(min(job["size"], len(made.sentences))))
        with stage("label", len(first.sentences)):
            labels = label(teacher, first.sentences, folder, "labels", physical_cores())
        windows, start = Windows(), time.perf_counter()
        with stage("train", job["steps"] * job["batch_size"]):
            distil(settings, teacher, text, first, labels, windows, folder)
        found["train"]["s"] = windows.between_s[0]
        found["train_start_s"] = windows.begins[0] - start - windows.between_s[0]
    return found


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokenizer", required=True, help="a BERT's folder, for its tokenizer")
    parser.add_argument("--train", required=True, help="text to take words and lengths from")
    parser.add_argument("--work", help="folder for temporary files; 6 gigabytes for 5 million texts")
    parser.add_argument("--ranks", type=int, nargs="+", help="numbers of ranks to measure")
    parser.add_argument("--out", help="also write all measurements here, as JSON")
    parser.add_argument("--sizes", type=int, nargs="+", default=[10_000, 100_000, 1_000_000, 5_000_000])
    for name, default in (("n-iter", 20), ("steps", 100), ("batch-size", 128), ("seed", 0)):
        parser.add_argument(f"--{name}", type=int, default=default)
    return parser


def measure(job: dict) -> dict:
    """Do what the job asks for."""
    return {"make_teacher": make_teacher, "make_texts": make_texts, "run_stages": run_stages}[job["do"]](job)


if __name__ == "__main__":
    if len(sys.argv) == 2 and sys.argv[1].startswith("{"):
        answer(measure)
    else:
        main()
