"""What else a user could pick: students beside their teacher, BERT-base, fastText, model2vec and TF-IDF; one thread.

    python benchmarks/peers.py output/sst2 --teacher teachers/minilm-sst2 --train data/sst2/train.tsv \\
        --data data/sst2/dev.tsv --work output/peers [--python PEERS/bin/python] [--out peers.json]

OUTPUT is a folder of `paddleslim-bilstm compress` with model.int8.onnx; a second one is the smallest student. Each
classifier is made once, in WORK, and then answers in a process of its own, text in and label out, tokenizing included,
with the libraries of this interpreter; those that need others run in the interpreter that `--python` names, and where
something is missing there, too, the table says what to install. Start-up is from the process's start to its first
answer, memory its peak after all of DATA in batches of 32. Speed is asked of all in turn, on the same texts, in rounds;
the tables hold medians over the rounds, and the ratio to the int8 student is that of a round. All times are processor
time.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Iterator, Sequence

from classifiers import CLASSIFIERS

_SCRIPT = Path(__file__).with_name("classifiers.py")
BASE, RANDOM = "int8 student, ONNX Runtime", "random-bert"
BATCH = 32
ONE, MANY = "one text", f"{BATCH} texts"
TOKENS = (10, 22, 64)
_CALLS = {ONE: 64, MANY: 4, **{f"{tokens} tokens": 32 for tokens in TOKENS}}  # different ones in a case


@dataclass(frozen=True)
class Row:
    """A line of the tables: a classifier, and what it is made of.

    Attributes:
        classifier: its name in `CLASSIFIERS`.
        source: the run's folder or the checkpoint that it comes from; none where it learns from the text alone.
        trained: its answers mean something.
    """

    classifier: str
    source: str = ""
    trained: bool = True


class Missing(Exception):
    """A package that a classifier needs isn't installed."""


class Server:
    """A classifier's process, kept alive between requests.

    Attributes:
        start_s: seconds from its start to its first answer, imports and loading.
    """

    def __init__(self, python: str, name: str, folder: Path, text: str) -> None:
        self._process = _start(python, "serve", name, {"folder": str(folder)})
        self.start_s = self.ask({"texts": [text]})["spent_s"]

    def ask(self, request: dict[str, Any]) -> dict[str, Any]:
        """Return the answer to a request, see `classifiers.answer`."""
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        return _read(self._process.stdout.readline())

    def stop(self) -> None:
        """End the process."""
        self._process.communicate()


def _start(python: str, do: str, name: str, places: dict[str, str]) -> subprocess.Popen:
    """Start a classifier's process: with one thread, and the best settings that Paddle has for that."""
    root = str(Path(__file__).resolve().parents[1])
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")])),
                   "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1",
                   "FLAGS_paddle_num_threads": "1", "TOKENIZERS_PARALLELISM": "false",
                   "PADDLESLIM_BILSTM_CPU_SETTINGS": "1", "HF_HUB_OFFLINE": "1"}
    return subprocess.Popen([python, str(_SCRIPT), do, name, json.dumps(places)], env=environment, text=True,
                            stdin=subprocess.PIPE, stdout=subprocess.PIPE)


def _read(line: str) -> dict[str, Any]:
    answer = json.loads(line)
    if "missing" in answer:
        raise Missing(answer["missing"])
    return answer


def main(arguments: list[str] | None = None) -> None:
    """Make all classifiers, measure them in turn and print the tables."""
    options = _parser().parse_args(arguments)
    work = Path(options.work)
    work.mkdir(parents=True, exist_ok=True)
    rows = rows_of(options)
    texts, labels = prepare(options, work)
    missing = {name: packages for name, row in rows.items() if (packages := make(row, options, work, name))}
    there = {name: row for name, row in rows.items() if name not in missing}
    found = measure(there, options, work, texts, labels)
    if options.out:
        Path(options.out).write_text(json.dumps(found, indent=2) + "\n")
    print(tables(rows, found, missing))


def rows_of(options: argparse.Namespace) -> dict[str, Row]:
    """Return the lines of the tables by their names."""
    output, *smaller = options.outputs
    teacher, bert = options.teacher, options.bert or str(Path(options.work) / RANDOM)
    return {
        BASE: Row("student-int8", output),
        **{f"smallest {BASE}": Row("student-int8", small) for small in smaller[:1]},
        "student, ONNX Runtime": Row("student-onnx", output),
        "student, Paddle Inference": Row("student-paddle", output),
        "teacher, Paddle Inference": Row("bert-paddle", teacher),
        "teacher, ONNX Runtime": Row("bert-onnx", teacher),
        "int8 teacher, ONNX Runtime": Row("bert-onnx-int8", teacher),
        "BERT-base, Paddle Inference": Row("bert-paddle", bert, trained=bool(options.bert)),
        "int8 BERT-base, ONNX Runtime": Row("bert-onnx-int8", bert, trained=bool(options.bert)),
        "fastText": Row("fasttext"),
        "fastText, quantized": Row("fasttext-ftz"),
        "model2vec of the teacher": Row("model2vec", teacher),
        "TF-IDF + logistic regression": Row("tf-idf"),
    }


def prepare(options: argparse.Namespace, work: Path) -> tuple[dict[str, list[str]], list[int]]:
    """Write what the classifiers learn from; return the texts to time each case with, DATA's own, and their labels."""
    from paddleslim_bilstm.predict import Predictor
    from paddleslim_bilstm.text import read_file
    from paddleslim_bilstm.tokens import load_tokenizer
    tokenizer, student = load_tokenizer(options.teacher), Predictor(options.outputs[0])
    tokenizer.rust.save(str(work / "tokenizer.json"))

    def read(file: str, name: str) -> tuple[list[str], list[int]]:
        rows = read_file(file, name)
        classes = student.task.scheme(None, rows, len(student.label_names), student.label_names)
        return list(rows.texts), classes.ids_of(rows.labels).tolist()
    (work / "train.json").write_text(json.dumps(read(options.train, "--train")))
    texts, labels = read(options.data, "--data")
    drawn = [texts[place] for place in random.Random(0).sample(range(len(texts)), len(texts))]
    words = " ".join(drawn).split()
    pieces = tokenizer.encode(words).lengths.tolist()
    return {"all": texts, ONE: drawn, **{f"{tokens} tokens": list(of_length(words, pieces, tokens))
                                         for tokens in TOKENS}}, labels


def of_length(words: Sequence[str], pieces: Sequence[int], tokens: int) -> Iterator[str]:
    """Yield `_CALLS` texts of exactly so many tokens, of words in their order; ``pieces`` are the tokens of each."""
    following = itertools.cycle(zip(words, pieces))
    for _ in range(_CALLS[f"{tokens} tokens"]):
        chosen, left = [], tokens
        while left:
            word, count = next(following)
            if 0 < count <= left:
                chosen.append(word)
                left -= count
        yield " ".join(chosen)


def make(row: Row, options: argparse.Namespace, work: Path, name: str) -> str:
    """Make a row's classifier unless WORK holds it; return what must be installed first, if anything."""
    classifier, folder = CLASSIFIERS[row.classifier], folder_of(work, name)
    if row.source == str(work / RANDOM) and (packages := make(Row(RANDOM), options, work, RANDOM)):
        return packages
    if folder.is_dir() and row.source not in options.outputs:
        return ""
    shutil.rmtree(folder, ignore_errors=True)
    with tempfile.TemporaryDirectory(dir=work) as partial:
        os.mkdir(made := Path(partial) / "made")
        places = {"folder": str(made), "train": str(work / "train.json"), "source": row.source,
                  "tokenizer": str(work / "tokenizer.json")}
        print(f"making {name}", file=sys.stderr)
        process = _start(options.python if classifier.packages else sys.executable, "make", row.classifier, places)
        try:
            _read(process.communicate()[0])
        except Missing as missing:
            return f"{missing} is missing: pip install {classifier.packages}"
        made.rename(folder)
    return ""


def folder_of(work: Path, name: str) -> Path:
    """Return the folder of a row's classifier."""
    return work / name.replace(",", "").replace(" ", "-")


def measure(rows: dict[str, Row], options: argparse.Namespace, work: Path, texts: dict[str, list[str]],
            labels: list[int]) -> dict[str, dict[str, Any]]:
    """Return what was measured of each row; its ``ms`` and ``start_s`` are a list, an entry a round."""
    found: dict[str, dict[str, Any]] = {name: {"ms": {case: [] for case in _CALLS}, "start_s": []} for name in rows}
    servers: dict[str, Server] = {}
    for _ in range(options.rounds):
        for name, row in rows.items():
            if name in servers:
                servers[name].stop()
            python = options.python if CLASSIFIERS[row.classifier].apart else sys.executable
            servers[name] = Server(python, row.classifier, folder_of(work, name), texts["all"][0])
            found[name]["start_s"].append(servers[name].start_s)
    for name, row in rows.items():
        answers = [servers[name].ask({"texts": texts["all"][start:start + BATCH]})
                   for start in range(0, len(labels) if row.trained else 8 * BATCH, BATCH)]
        classes = [number for answer in answers for number in answer["classes"]]
        found[name].update(accuracy=sum(map(int.__eq__, classes, labels)) / len(labels) if row.trained else None,
                           peak_mib=answers[-1]["peak_mib"],
                           bytes=sum(file.stat().st_size for file in folder_of(work, name).iterdir()))
    for number in range(options.rounds):
        for case, calls in _CALLS.items():
            size = BATCH if case == MANY else 1
            drawn = texts[ONE if case == MANY else case]
            batches = [drawn[start:start + size] for start in range(0, min(calls * size, len(drawn)), size)]
            for name, server in servers.items():
                found[name]["ms"][case].append(server.ask({"batches": batches, "at_least_s": options.seconds})["ms"])
        print(f"round {number + 1} of {options.rounds}", file=sys.stderr)
    for server in servers.values():
        server.stop()
    return found


def tables(rows: dict[str, Row], found: dict[str, dict[str, Any]], missing: dict[str, str]) -> str:
    """Return the figures as two Markdown tables."""
    def ms(name: str, case: str) -> float:
        return statistics.median(found[name]["ms"][case])

    def ratio(name: str, case: str) -> float:
        return statistics.median(map(float.__truediv__, found[name]["ms"][case], found[BASE]["ms"][case]))

    def shown(number: float) -> str:
        return f"{number:.3g}" if number < 100 else f"{number:,.0f}"

    head = ["accuracy %", "MB", "memory, MiB", "start-up, s", "a text, ms", f"{BATCH} texts, ms",
            "times the int8 student, a text", f"{BATCH} texts"]
    lines = [f"| one thread | {' | '.join(head)} |", "|---|" + "---:|" * len(head)]
    for name in rows:
        if name in missing:
            lines.append(f"| {name} | {missing[name]} |" + " |" * (len(head) - 1))
            continue
        one = found[name]
        accuracy = "" if one["accuracy"] is None else f"{100 * one['accuracy']:.1f}"
        lines.append(f"| {name} | {accuracy} | {shown(one['bytes'] / 1e6)} | {one['peak_mib']:,.0f} "
                     f"| {statistics.median(one['start_s']):.2f} | {shown(ms(name, ONE))} | {shown(ms(name, MANY))} "
                     f"| {shown(ratio(name, ONE))} | {shown(ratio(name, MANY))} |")
    lengths = [f"{tokens} tokens" for tokens in TOKENS]
    lines += ["", f"| a text, ms | {' | '.join(lengths)} | times the int8 student at {lengths[1]} |",
              "|---|" + "---:|" * (len(lengths) + 1)]
    lines += [f"| {name} | {' | '.join(shown(ms(name, case)) for case in lengths)} | {shown(ratio(name, lengths[1]))} |"
              for name in found]
    return "\n".join(lines)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("outputs", metavar="OUTPUT", nargs="+", help="a run's folder, and perhaps a smaller student's")
    parser.add_argument("--teacher", required=True, help="its checkpoint, of BERT's architecture")
    parser.add_argument("--bert", help="checkpoint of a BERT-base for the same labels; random weights by default")
    parser.add_argument("--train", required=True, help="labelled text to train the peers on")
    parser.add_argument("--data", required=True, help="labelled text to measure on")
    parser.add_argument("--work", required=True, help="folder for what is made once: of one teacher and one TRAIN")
    parser.add_argument("--python", default=sys.executable, help="interpreter with the optional packages (this one)")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=0.5, help="the least for each case and round (%(default)s)")
    parser.add_argument("--out", help="file for the figures")
    return parser


if __name__ == "__main__":
    main()
