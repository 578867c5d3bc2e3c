"""How long a sentence takes, text in and label out, on one CPU thread.

    python benchmarks/inference.py output/sst2 --data dev.tsv [--teacher TEACHER/model] [--json times.json]

OUTPUT is a folder of `paddleslim-bilstm compress` with model.int8.onnx, model.onnx and model.pdmodel. The table
holds medians in milliseconds: one sentence of 10, 22 and 64 tokens, and 32 sentences of 22 tokens together. Each
engine runs in a process of its own, three times in turn; Paddle Inference with the environment as it is after
installing, and with the settings of `paddleslim_bilstm.cpu` (still one thread). BERT-base has random weights, which
take as long as trained ones.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Callable

CASES = {"10 tokens": (1, 10), "22 tokens": (1, 22), "64 tokens": (1, 64), "32 x 22 tokens": (32, 22)}
_ENGINES = {  # name in the table -> (how to classify, tuned Paddle settings)
    "int8 student, ONNX Runtime": ("onnx-int8", True),
    "student, ONNX Runtime": ("onnx", True),
    "student, Paddle Inference as installed": ("paddle", False),
    "student, Paddle Inference tuned": ("paddle", True),
    "teacher, Paddle Inference as installed": ("teacher", False),
    "teacher, Paddle Inference tuned": ("teacher", True),
    "BERT-base, Paddle Inference as installed": ("bert", False),
    "BERT-base, Paddle Inference tuned": ("bert", True),
    "TF-IDF + logistic regression": ("tf-idf", True),
}
_TEXTS_PER_CASE = 64
_ROUNDS = 3  # over all engines, so that a slow moment of the machine doesn't hit one of them alone
_BUDGET_S = 3.0
_FEWEST_CALLS = 5
_MOST_CALLS = 300


def main() -> None:
    """Run all engines and print the table."""
    arguments = _parser().parse_args()
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        (work / "texts.json").write_text(json.dumps(_texts(arguments.output, arguments.data)))
        _child(arguments, work, "make-bert", tuned=True)
        rounds = {name: [] for name, (engine, _) in _ENGINES.items() if engine != "teacher" or arguments.teacher}
        for _ in range(_ROUNDS):
            for name, runs in rounds.items():
                runs.append(_child(arguments, work, *_ENGINES[name]))
                print(f"{name}: {runs[-1]['ms']}", file=sys.stderr)
        found = {name: _median_of(runs) for name, runs in rounds.items()}
    if arguments.json:
        Path(arguments.json).write_text(json.dumps(found, indent=2) + "\n")
    print(_table(found))


def _median_of(runs: list[dict]) -> dict:
    """Return the median of each figure over several runs of an engine."""
    return {key: {case: statistics.median(run["ms"][case] for run in runs) for case in CASES} if key == "ms"
            else statistics.median(run[key] for run in runs) for key in runs[0]}


def _table(found: dict[str, dict]) -> str:
    int8 = next(iter(found.values()))
    lines = ["| text in, label out, one thread | " + " | ".join(f"{case}, ms" for case in CASES)
             + " | times the int8 student at 22 |",
             "|---|" + "---:|" * (len(CASES) + 1)]
    for name, one in found.items():
        times = " | ".join(f"{one['ms'][case]:.3g}" for case in CASES)
        lines.append(f"| {name} | {times} | {one['ms']['22 tokens'] / int8['ms']['22 tokens']:.2f} |")
    return "\n".join([*lines, "", f"The int8 student's process: import {int8['import_s']:.2f} s, load "
                                  f"{int8['load_s']:.2f} s, {int8['peak_mib']:.0f} MiB at its peak."])


def _child(arguments: argparse.Namespace, work: Path, engine: str, tuned: bool) -> dict:
    """Run one engine in a process of its own, with one thread, and return what it measured."""
    environment = {name: value for name, value in os.environ.items() if name != "MKL_DEBUG_CPU_TYPE"}
    environment.update(OMP_NUM_THREADS="1", FLAGS_paddle_num_threads="1", TOKENIZERS_PARALLELISM="false",
                       PADDLESLIM_BILSTM_CPU_SETTINGS="1" if tuned else "0")
    command = [sys.executable, __file__, *sys.argv[1:], "--engine", engine, "--work", str(work)]
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=True, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def run_engine(arguments: argparse.Namespace) -> dict:
    """Measure ``arguments.engine`` in this process."""
    work = Path(arguments.work)
    if arguments.engine == "make-bert":
        make_bert(work / "bert", arguments.bert_layers, arguments.bert_units)
        return {}
    texts = json.loads((work / "texts.json").read_text())
    start = time.perf_counter()
    import paddleslim_bilstm.predict  # noqa: F401  timed
    imported = time.perf_counter()
    if arguments.engine in ("onnx-int8", "onnx", "paddle"):
        classify = paddleslim_bilstm.predict.Predictor(arguments.output, arguments.engine).predict
    elif arguments.engine == "tf-idf":
        classify = tf_idf(arguments.data)
    else:
        prefix = arguments.teacher if arguments.engine == "teacher" else work / "bert"
        classify = paddle_classifier(prefix, arguments.output)
    loaded = time.perf_counter()
    medians = {case: 1000 * median_s(classify, texts[case], size) for case, (size, _) in CASES.items()}
    return {"ms": medians, "import_s": imported - start, "load_s": loaded - imported, "peak_mib": _peak_mib()}


def median_s(classify: Callable[[list[str]], object], texts: list[str], size: int) -> float:
    """Return the median seconds that ``classify`` takes for ``size`` of ``texts``, within the time budget."""
    batches = [texts[start:start + size] for start in range(0, len(texts), size)]
    for batch in batches[:2]:
        classify(batch)
    seconds: list[float] = []
    while len(seconds) < _FEWEST_CALLS or (len(seconds) < _MOST_CALLS and sum(seconds) < _BUDGET_S):
        batch = batches[len(seconds) % len(batches)]
        start = time.perf_counter()
        classify(batch)
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


def paddle_classifier(prefix: str | Path, tokenizer_folder: str) -> Callable[[list[str]], object]:
    """Return texts -> class numbers with a BERT in Paddle Inference."""
    import numpy as np

    from paddleslim_bilstm.predict.runtimes import paddle_logits
    from paddleslim_bilstm.tokens import load_tokenizer
    run, tokenizer = paddle_logits(prefix), load_tokenizer(tokenizer_folder)

    def classify(texts: list[str]) -> object:
        sentences = tokenizer.encode(texts)
        input_ids = tokenizer.framing.batch(sentences, np.arange(len(texts)))[0]
        return run(input_ids, np.zeros_like(input_ids)).argmax(axis=1)
    return classify


def tf_idf(data: str) -> Callable[[list[str]], object]:
    """Return texts -> labels with words and word pairs, fitted on ``data``."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    from paddleslim_bilstm.text import read_file
    rows = read_file(data, "--data")
    return make_pipeline(TfidfVectorizer(ngram_range=(1, 2)), LogisticRegression()).fit(rows.texts, rows.labels).predict


def make_bert(prefix: Path, layers: int, units: int) -> None:
    """Save a BERT classifier with random weights as an inference model."""
    import paddle
    from paddlenlp.transformers import BertConfig, BertForSequenceClassification
    paddle.disable_static()
    config = BertConfig(num_hidden_layers=layers, hidden_size=units, num_attention_heads=units // 64,
                        intermediate_size=4 * units, num_labels=2)
    model = BertForSequenceClassification(config)
    model.eval()
    feeds = [paddle.static.InputSpec([None, None], "int64", name) for name in ("input_ids", "token_type_ids")]
    paddle.jit.save(paddle.jit.to_static(model, feeds), str(prefix))


def _texts(output: str, data: str) -> dict[str, list[str]]:
    """Return texts of each case's exact number of tokens, words of ``data`` in their order."""
    from paddleslim_bilstm.text import read_file
    from paddleslim_bilstm.tokens import load_tokenizer
    words = " ".join(read_file(data, "--data", with_labels=False).texts).split()
    pieces = load_tokenizer(output).encode(words).lengths
    texts = {}
    for case, (_, tokens) in CASES.items():
        texts[case], position = [], 0
        while len(texts[case]) < _TEXTS_PER_CASE:
            chosen, left = [], tokens
            while left:
                if 0 < pieces[position % len(words)] <= left:
                    chosen.append(words[position % len(words)])
                    left -= pieces[position % len(words)]
                position += 1
            texts[case].append(" ".join(chosen))
    return texts


def _peak_mib() -> float:
    import resource
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", metavar="OUTPUT")
    parser.add_argument("--data", required=True, help="labelled text (.tsv, .csv, .jsonl) to take words from")
    parser.add_argument("--teacher", help="the teacher's inference model, path without .pdmodel")
    parser.add_argument("--json", help="also write the times here")
    parser.add_argument("--bert-layers", type=int, default=12)
    parser.add_argument("--bert-units", type=int, default=768)
    parser.add_argument("--engine", help=argparse.SUPPRESS)
    parser.add_argument("--work", help=argparse.SUPPRESS)
    return parser


if __name__ == "__main__":
    if "--engine" in sys.argv:
        print(json.dumps(run_engine(_parser().parse_args())))
    else:
        main()
