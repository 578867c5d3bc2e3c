"""How fast the same teacher labels as a Paddle checkpoint and as an ONNX file, in fp32 and int8; one thread.

    pip install ml_dtypes               # for ONNX Runtime's quantizer
    optimum-cli export onnx --task text-classification --model teachers/minilm-sst2 teachers/minilm-sst2-onnx
    python benchmarks/onnx_labelling.py --teacher teachers/minilm-sst2 --onnx teachers/minilm-sst2-onnx \
        --train data/sst2/train.tsv [--sentences 500] [--runs 3] [--out rates.json]

The int8 file is what ONNX Runtime's `quantize_dynamic` makes of the other one. All label the same sentences, in turn,
in one process; what is timed is its processor time, so that what else runs on the machine counts less. The table holds
medians, and each engine's ratio to Paddle in fp32, the median over the runs.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import shutil
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np

from paddleslim_bilstm.cpu import apply_cpu_settings, has_fast_bf16

os.environ["OMP_NUM_THREADS"] = "1"
apply_cpu_settings()
import paddle  # noqa: E402  (reads the settings)

from paddleslim_bilstm.old_programs import old_programs  # noqa: E402
from paddleslim_bilstm.teacher import Teacher, load_teacher  # noqa: E402
from paddleslim_bilstm.text import read_file  # noqa: E402
from paddleslim_bilstm.tokens import Sentences  # noqa: E402

BASE = "Paddle Inference, fp32"


@old_programs()
def main(arguments: list[str] | None = None) -> None:
    """Label with each engine in turn and print the table."""
    options = _parser().parse_args(arguments)
    paddle.enable_static()
    with tempfile.TemporaryDirectory() as folder:
        engines = _engines(options, Path(folder))
        texts = read_file(options.train, "--train").texts
        picked = np.random.default_rng(0).permutation(len(texts))[:options.sentences]
        sentences = engines[BASE][0].tokenizer.encode([texts[row] for row in picked]).truncate(62)
        found = measure(engines, sentences, options.runs)
    if options.out:
        Path(options.out).write_text(json.dumps(found, indent=2) + "\n")
    print(table(found, sentences))


def _engines(options: argparse.Namespace, work: Path) -> dict[str, tuple[Teacher, bool]]:
    """Return each engine's teacher, and whether it is to label in bf16."""
    from onnxruntime.quantization import QuantType, quantize_dynamic
    paddles = load_teacher(options.teacher, work / "teachers")
    onnx = load_teacher(options.onnx, work / "teachers")
    shutil.copytree(options.onnx, work / "int8", ignore=shutil.ignore_patterns("*.onnx*"))
    logging.disable(logging.WARNING)  # it recommends a step that changes nothing here
    quantize_dynamic(onnx.model_file, work / "int8" / "model.onnx", weight_type=QuantType.QInt8)
    logging.disable(logging.NOTSET)
    engines = {BASE: (paddles, False)}
    if has_fast_bf16():
        engines["Paddle Inference, bf16"] = paddles, True
    return {**engines, "ONNX Runtime, fp32": (onnx, False),
            "ONNX Runtime, dynamic int8": (load_teacher(work / "int8", work / "teachers"), False)}


def measure(engines: dict[str, tuple[Teacher, bool]], sentences: Sentences, runs: int) -> dict[str, dict]:
    """Return of each engine the processor seconds of each run, and how far its logits are from `BASE`'s."""
    found: dict[str, dict] = {name: {"seconds": []} for name in engines}
    logits = {}
    for run in range(runs + 1):  # the first one loads and compiles
        for name, (teacher, bf16) in engines.items():
            start = time.process_time()
            logits[name] = teacher.logits(sentences, bf16=bf16, threads=1)
            if run:
                found[name]["seconds"].append(time.process_time() - start)
    for name, one in found.items():
        one["difference"] = float(np.abs(logits[name] - logits[BASE]).max())
        one["agreement"] = float((logits[name].argmax(axis=1) == logits[BASE].argmax(axis=1)).mean())
        one["ratio"] = statistics.median(base / own for base, own in zip(found[BASE]["seconds"], one["seconds"]))
    return found


def table(found: dict[str, dict], sentences: Sentences) -> str:
    """Return the figures as a Markdown table."""
    lines = [f"| {len(sentences)} sentences of {sentences.lengths.mean():.1f} tokens, one thread | sentences/s "
             "| times Paddle in fp32 | same labels % | largest difference of a logit |", "|---|---:|---:|---:|---:|"]
    for name, one in found.items():
        lines.append(f"| {name} | {len(sentences) / statistics.median(one['seconds']):,.0f} | {one['ratio']:.2f} "
                     f"| {100 * one['agreement']:.1f} | {one['difference']:.1e} |")
    return "\n".join(lines)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--teacher", required=True, help="folder of a checkpoint")
    parser.add_argument("--onnx", required=True, help="folder of the same one in ONNX, with its tokenizer")
    parser.add_argument("--train", required=True, help="file of texts")
    parser.add_argument("--sentences", type=int, default=500, help="of the texts, drawn (%(default)s)")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--out", help="file for the figures")
    return parser


if __name__ == "__main__":
    main()
