"""A soak of the predictor: many sentences from several threads, answers and memory watched.

    python benchmarks/soak.py [OUTPUT] [--sentences 1000000] [--threads 4] [--streamed 200000]

OUTPUT is a folder of `paddleslim-bilstm compress`; without it, an int8 student of the default size is made, with
random weights, which computes as long as a trained one. First the threads share one `Predictor`: each answer must be
the one that a single thread got before, to the bit. Then as many lines as --streamed says go through
`paddleslim-bilstm predict` on standard input. The resident memory is sampled all along. The exit code is 1 if an
answer differs or memory grows by more than 5 % from a tenth of the way to the end.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Iterable

import numpy as np

from paddleslim_bilstm import Predictor
from paddleslim_bilstm.config import StudentConfig
from paddleslim_bilstm.export.int8 import round_layers
from paddleslim_bilstm.export.onnx_model import write_onnx
from paddleslim_bilstm.quickstart.corpus import make_corpus
from paddleslim_bilstm.student.spec import StudentSpec
from paddleslim_bilstm.student.weights import first_weights, save_student

_DISTINCT_TEXTS = 8_000
_TEXTS_PER_CALL = 64
_SAMPLE_S = 0.5
_MOST_GROWTH = 1.05


def main(arguments: list[str] | None = None) -> int:
    """Soak both ways; return the exit code."""
    arguments = _parser().parse_args(arguments)
    texts = make_corpus(train=0, dev=0, unlabeled=_DISTINCT_TEXTS).unlabeled
    with tempfile.TemporaryDirectory() as folder:
        output = arguments.output or make_student(Path(folder), texts)
        threads_ok = soak_threads(output, texts, arguments.sentences, arguments.threads)
        stream_ok = soak_stream(output, texts, arguments.streamed)
    return 0 if threads_ok and stream_ok else 1


def make_student(folder: Path, texts: list[str]) -> Path:
    """Write an int8 student of the default size with random weights, whose vocabulary spells ``texts``."""
    words = {word for text in texts for word in "".join(c if c.isalnum() else " " for c in text.lower()).split()}
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *".,:;'!?-", *sorted(words)]
    size = StudentConfig()
    spec = StudentSpec(size.embed_dim, size.hidden_size, size.num_layers, label_names=("0", "1"), pad_id=0,
                       max_seq_length=128, pooling=size.pooling)
    weights = first_weights(spec, np.arange(len(vocabulary), dtype=np.int32), None, np.random.default_rng(0))
    (folder / "vocab.txt").write_text("\n".join(vocabulary) + "\n", encoding="utf-8")
    save_student(folder, weights, spec)
    write_onnx(folder / "model.int8.onnx", round_layers(weights, spec), spec)
    return folder


class Memory(threading.Thread):
    """Samples the resident memory of a process (Linux) in MiB, each time with how far the work is (0 to 1)."""

    def __init__(self, pid: int):
        super().__init__(daemon=True)
        self._pages, self._ended = Path(f"/proc/{pid}/statm"), threading.Event()
        self.done, self.samples = 0.0, []

    def run(self) -> None:
        while not self._ended.wait(_SAMPLE_S):
            mib = int(self._pages.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20
            if mib:  # not that of a process that has just ended
                self.samples.append((self.done, mib))

    def stop(self) -> None:
        self._ended.set()
        self.join()

    def report(self) -> bool:
        """Print the memory on the way and return whether it stayed flat."""
        shown = [(share, min(self.samples, key=lambda sample: abs(sample[0] - share))[1]) for share in (0.1, 0.5, 1.0)]
        print("  memory: " + ", ".join(f"{mib:.1f} MiB at {share:.0%}" for share, mib in shown)
              + f"; most {max(mib for _, mib in self.samples):.1f} MiB")
        return shown[-1][1] <= shown[0][1] * _MOST_GROWTH


def soak_threads(output: Path, texts: list[str], sentences: int, threads: int) -> bool:
    """Let ``threads`` threads ask one predictor; return whether answers and memory were as they should be."""
    predictor = Predictor(output)
    calls = [texts[start:start + _TEXTS_PER_CALL] for start in range(0, len(texts), _TEXTS_PER_CALL)]
    expected = [predictor.logits(call) for call in calls]
    total = -(-sentences // _TEXTS_PER_CALL)
    turns, memory, started = itertools.count(), Memory(os.getpid()), time.perf_counter()

    def work(thread: int) -> int:
        different, rng = 0, np.random.default_rng(thread)
        while (turn := next(turns)) < total:  # one step of a C iterator: no two threads get the same
            call = int(rng.integers(len(calls)))
            different += int((predictor.logits(calls[call]) != expected[call]).any(axis=1).sum())
            memory.done = turn / total
        return different

    memory.start()
    with ThreadPoolExecutor(threads) as pool:
        different = sum(pool.map(work, range(threads)))
    memory.done = 1.0
    time.sleep(2 * _SAMPLE_S)
    memory.stop()
    print(f"Predictor ({predictor.runtime}), {total * _TEXTS_PER_CALL:,} sentences from {threads} threads in "
          f"{time.perf_counter() - started:.0f} s: {different:,} answers differ from the single-threaded ones")
    return memory.report() and different == 0


def soak_stream(output: Path, texts: list[str], lines: int) -> bool:
    """Stream ``lines`` lines through the command; return whether all were answered and memory was flat."""
    command = [sys.executable, "-m", "paddleslim_bilstm", "predict", str(output)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        memory, started = Memory(process.pid), time.perf_counter()
        feeder = threading.Thread(target=_feed, args=(process, (texts[i % len(texts)] for i in range(lines)), memory,
                                                      lines))
        memory.start()
        feeder.start()
        answered = sum(json.loads(line)["text"] == texts[number % len(texts)]
                       for number, line in enumerate(process.stdout))
        memory.stop()
        feeder.join()
    print(f"predict on standard input: {answered:,} of {lines:,} lines answered in order in "
          f"{time.perf_counter() - started:.0f} s")
    return memory.report() and answered == lines and process.returncode == 0


def _feed(process: subprocess.Popen, texts: Iterable[str], memory: Memory, lines: int) -> None:
    with process.stdin as stream:
        for number, text in enumerate(texts, 1):
            stream.write(text.encode() + b"\n")
            memory.done = number / lines


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("output", type=Path, nargs="?", help="a folder of `paddleslim-bilstm compress`")
    parser.add_argument("--sentences", type=int, default=1_000_000, help="through the threads (%(default)s)")
    parser.add_argument("--threads", type=int, default=4)
    parser.add_argument("--streamed", type=int, default=200_000, help="lines through the command (%(default)s)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
