"""Sentences a second of the student's training: ours, against PyTorch's LSTM and against Paddle as installed.

    python benchmarks/student_training.py --teacher teachers/minilm-sst2 --train data/sst2/train.tsv \
        [--torch-path FOLDER] [--out rates.json]

All train the same Bi-LSTM with Adam on the same batches of equal length, whose lengths are those of the transfer set
made from TRAIN, on all physical cores; each engine in a process of its own, in turn. Ours is the training of a run,
with its feeding, its schedule and its checkpoints; the others get their batches ready-made in memory. PyTorch is left
out where it is not installed; `--torch-path` names a folder of `pip install --target FOLDER torch`. The others
train over their sentences twice, and the second time counts; ours ten times, of which the last five do, with the one
checkpoint that is written in between (a run writes one every 1,000 steps).
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Callable

import numpy as np
from processes import answer, run_child

_OURS, _PADDLE, _TORCH = "ours", "Paddle as installed", "PyTorch"
_DROPOUT, _CLASSES = 0.2, 2
_EPOCHS = 5  # of ours that count


def main(arguments: list[str] | None = None) -> None:
    """Run all engines and print the table."""
    options = _parser().parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        job = {**vars(options), "work": folder}
        counts = run_child(__file__, {**job, "engine": "prepare"}, tuned=True)
        runs = []
        for _ in range(options.runs):
            run = {_OURS: run_child(__file__, {**job, "engine": _OURS}, tuned=True),
                   _PADDLE: run_child(__file__, {**job, "engine": _PADDLE}, tuned=False),
                   _TORCH: run_child(__file__, {**job, "engine": _TORCH}, tuned=False, path=options.torch_path)}
            print(json.dumps(run), file=sys.stderr)
            runs.append(run)
    if options.out:
        Path(options.out).write_text(json.dumps({"options": vars(options), **counts, "runs": runs}, indent=2) + "\n")
    print(table(runs))


def table(runs: list[dict]) -> str:
    """Return the medians as a table in Markdown."""
    engines = [engine for engine, found in runs[0].items() if "missing" not in found]
    others = [engine for engine in engines if engine != _OURS]
    lines = [f"| sentences/s, median of {len(runs)} runs | " + " | ".join(engines) + " | "
             + " | ".join(f"ours / {engine}" for engine in others) + " |",
             "|---|" + "---:|" * (len(engines) + len(others))]
    for case in runs[0][_OURS]["rates"]:
        rates = {engine: statistics.median(run[engine]["rates"][case] for run in runs) for engine in engines}
        lines.append(f"| {case} | " + " | ".join(f"{rate:,.0f}" for rate in rates.values()) + " | "
                     + " | ".join(f"{rates[_OURS] / rates[engine]:.2f}" for engine in others) + " |")
    return "\n".join(lines)


def measure(job: dict[str, Any]) -> dict[str, Any]:
    """Run one engine in this process, on every case."""
    if job["engine"] == "prepare":
        return prepare(job)
    if job["engine"] == _TORCH:
        try:
            import torch  # noqa: F401
        except ImportError as error:
            return {"missing": str(error)}
    rate = {_OURS: our_rate, _PADDLE: paddle_rate, _TORCH: torch_rate}[job["engine"]]
    return {"rates": {f"{embed_dim} dimensions, {units} units, batch {size}": rate(job, embed_dim, units, size)
                      for embed_dim, units in job["sizes"] for size in job["batch_sizes"]}}


def prepare(job: dict) -> dict:
    """Write a random sample of the transfer set, its tokens renumbered to rows of the cut vocabulary."""
    from ours import settings_of, text_of

    from paddleslim_bilstm.stages import make_transfer_set
    from paddleslim_bilstm.student.vocabulary import cut_vocabulary
    from paddleslim_bilstm.teacher import load_teacher
    from paddleslim_bilstm.text import read_file
    work = Path(job["work"])
    teacher = load_teacher(job["teacher"], work)
    texts = read_file(job["train"], "--train", with_labels=False).texts
    settings = settings_of({**job, "batch_size": 1})
    made = make_transfer_set(settings, teacher, text_of(settings, teacher, texts), work).sentences
    rows = cut_vocabulary(teacher.tokenizer, made)
    sample = made.take(np.random.default_rng(job["seed"]).permutation(len(made))[:job["sentences"]])
    np.savez(work / "sample.npz", tokens=rows[sample.tokens], offsets=sample.offsets, rows=rows.max() + 1)
    return {"distinct": len(made), "tokens_a_sentence": float(sample.lengths.mean()), "rows": int(rows.max()) + 1}


def our_rate(job: dict, embed_dim: int, units: int, batch_size: int) -> float:
    """Return sentences a second of the training of a run."""
    import paddle
    import paddleslim  # noqa: F401  (registers our loss)
    from ours import Windows

    from paddleslim_bilstm.config import load_config
    from paddleslim_bilstm.host.optimizer import make_optimizer_of
    from paddleslim_bilstm.student.losses import loss_function
    from paddleslim_bilstm.student.recipe import Recipe, Student, StudentText
    from paddleslim_bilstm.student.spec import StudentSpec
    from paddleslim_bilstm.student.train import TrainingSet
    from paddleslim_bilstm.student.weights import first_weights
    paddle.enable_static()
    sentences, rows, logits = _sample(job)
    steps = -(-len(sentences) // batch_size)
    student = {"embed_dim": embed_dim, "hidden_size": units, "dropout": _DROPOUT}
    settings = load_config({"Global": {"seed": job["seed"]},
                            "bert_to_bilstm": {"batch_size": batch_size, "student": student},
                            "TrainConfig": {"epochs": 2 * _EPOCHS, "eval_iter": _EPOCHS * steps}})
    spec = StudentSpec(embed_dim, units, 1, ("0", "1"), 0, settings.global_.max_seq_length)
    first = first_weights(spec, np.arange(rows, dtype=np.int32), None, np.random.default_rng(job["seed"]))
    with tempfile.TemporaryDirectory() as folder:
        windows = Windows()
        recipe = Recipe(settings, loss_function("logit_mse"), make_optimizer_of(settings.train), windows,
                        "benchmark", Path(folder))
        text = StudentText(None, sentences, sentences, sentences, {})
        recipe.distil(Student(spec, first, text), TrainingSet(sentences, logits, None))
    return _EPOCHS * len(sentences) / windows.between_s[0]


def paddle_rate(job: dict, embed_dim: int, units: int, batch_size: int) -> float:
    """Return sentences a second of Paddle's dynamic graph, with the tutorial's network."""
    import paddle
    from tutorial import BiLSTM
    paddle.seed(job["seed"])
    model = BiLSTM(embed_dim, units, _sample(job)[1], _CLASSES, _DROPOUT)
    optimizer = paddle.optimizer.Adam(1e-3, parameters=model.parameters())

    def step(rows: np.ndarray, lengths: np.ndarray, logits: np.ndarray) -> None:
        answer = model(paddle.to_tensor(rows), paddle.to_tensor(lengths))
        loss = paddle.nn.functional.mse_loss(answer, paddle.to_tensor(logits))
        loss.backward()
        optimizer.step()
        optimizer.clear_grad()
        float(loss)
    return _rate(job, batch_size, step)


def torch_rate(job: dict, embed_dim: int, units: int, batch_size: int) -> float:
    """Return sentences a second of PyTorch's LSTM and fused Adam. Equal lengths need no packed sequences."""
    import torch

    from paddleslim_bilstm.cpu import physical_cores
    torch.manual_seed(job["seed"])
    torch.set_num_threads(physical_cores())
    embedding = torch.nn.Embedding(_sample(job)[1], embed_dim)
    lstm = torch.nn.LSTM(embed_dim, units, bidirectional=True)
    head = torch.nn.Sequential(torch.nn.Linear(2 * units, units), torch.nn.Tanh(), torch.nn.Linear(units, _CLASSES))
    parameters = [*embedding.parameters(), *lstm.parameters(), *head.parameters()]
    optimizer = torch.optim.Adam(parameters, 1e-3, fused=True)

    def step(rows: np.ndarray, lengths: np.ndarray, logits: np.ndarray) -> None:
        embedded = torch.nn.functional.dropout(embedding(torch.from_numpy(rows.T.copy())), _DROPOUT)
        _, (hidden, _) = lstm(embedded)
        loss = torch.nn.functional.mse_loss(head(torch.cat((hidden[0], hidden[1]), 1)), torch.from_numpy(logits))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        loss.item()
    return _rate(job, batch_size, step)


def _rate(job: dict, batch_size: int, step: Callable) -> float:
    """Take ``step(rows, lengths, logits)`` on all batches twice, and return sentences a second of the second time."""
    from paddleslim_bilstm.tokens.sentences import plan_batches
    sentences, _, logits = _sample(job)
    plan = plan_batches(sentences.lengths, batch_size, np.random.default_rng([job["seed"], 0]))
    batches = [(sentences.padded(index, 0), sentences.lengths[index], logits[index]) for index in plan]
    for _ in range(2):
        start = time.perf_counter()
        for batch in batches:
            step(*batch)
        seconds = time.perf_counter() - start
    return len(sentences) / seconds


def _sample(job: dict) -> tuple:
    """Return the sentences, the number of embedding rows, and random logits (training takes as long on these)."""
    from paddleslim_bilstm.tokens import Sentences
    sample = np.load(Path(job["work"]) / "sample.npz")
    sentences = Sentences(sample["tokens"], sample["offsets"], np.broadcast_to(np.True_, sample["tokens"].shape))
    logits = np.random.default_rng(job["seed"]).standard_normal((len(sentences), _CLASSES)).astype(np.float32)
    return sentences, int(sample["rows"]), logits


def _size(text: str) -> tuple[int, int]:
    embed_dim, units = map(int, text.split("x"))
    return embed_dim, units


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--teacher", required=True, help="for its tokenizer")
    parser.add_argument("--train", required=True)
    parser.add_argument("--torch-path", help="folder of packages in which PyTorch is")
    parser.add_argument("--out", help="also write all rates here, as JSON")
    parser.add_argument("--sizes", type=_size, nargs="+", default=[(64, 94), (300, 300)], metavar="DIMENSIONSxUNITS")
    parser.add_argument("--batch-sizes", type=int, nargs="+", default=[64, 128, 256])
    for name, default in (("sentences", 5120), ("runs", 3), ("n-iter", 20), ("seed", 0)):
        parser.add_argument(f"--{name}", type=int, default=default)
    return parser


if __name__ == "__main__":
    if len(sys.argv) == 2 and sys.argv[1].startswith("{"):
        answer(measure)
    else:
        main()
