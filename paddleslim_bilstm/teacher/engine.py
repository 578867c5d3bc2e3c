"""What runs a teacher's network: Paddle Inference, batches of like length, and several of them side by side."""

from __future__ import annotations

import os
import threading
from abc import ABC, abstractmethod
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, as_completed, wait
from contextlib import contextmanager
from copy import copy
from pathlib import Path
from typing import Any, Callable, Iterable, Iterator, Sequence

import numpy as np
import paddle
from paddle.inference import Config, create_predictor

from .. import ranks
from ..export.file_names import NEW_PROGRAM, program_file
from ..tokens import Reader, Sentences

TOKENS_PER_BATCH = 4096
ROWS_PER_BATCH = 512
_MAX_PADDING = 1 / 8
# oneDNN keeps a reordered copy of all weights for each input shape that it remembers. Batches come sorted by length,
# so that remembering the last shape is as fast as remembering ten.
_ONEDNN_SHAPES = 1
_GPU_MEMORY_MB = 512
_MOST_AT_ONCE = 8  # engines; each holds what its batch becomes on the way, some 100 MiB in a MiniLM


class Engine(ABC):
    """What runs a network."""

    @abstractmethod
    def run(self, *batch: np.ndarray) -> np.ndarray:
        """Return the logits, float32 ``[batch, classes]``; ``batch`` is an array an input, in the model's order."""

    def answers(self, batches: Iterable[tuple[np.ndarray, Sequence[np.ndarray]]]) -> Iterator[tuple]:
        """Yield what `run` returns for each of ``batches``, ``(index, batch)``, with its index, as they are done."""
        return ((index, self.run(*batch)) for index, batch in batches)


class InferenceModel(Engine):
    """A classifier saved as ``<prefix>.pdmodel`` (or ``.json``) and ``<prefix>.pdiparams``, run by Paddle Inference.

    Runs on the first GPU, or its rank's, where Paddle and the machine have one, otherwise through oneDNN on ``threads``
    CPU threads.

    Args:
        prefix: path of the two files without their suffix.
        threads: CPU threads.
        bf16: multiply matrices in bfloat16; about twice as fast where the CPU has it, slower where it has not.
        program: another program with the same parameters, which may have several outputs ``[batch, units]``.
    """

    def __init__(self, prefix: str | Path, threads: int, bf16: bool = False, program: Path | None = None) -> None:
        program = program or program_file(prefix)
        config = Config(str(program), f"{prefix}.pdiparams")
        config.disable_glog_info()
        self._shrinks = program.suffix != NEW_PROGRAM  # Paddle has neither for its new programs
        if self._shrinks:
            config.enable_memory_optim()
        if runs_on_gpu():
            config.enable_use_gpu(_GPU_MEMORY_MB, ranks.gpu())
        else:
            config.disable_gpu()
            config.set_cpu_math_library_num_threads(threads)
            config.enable_mkldnn()
            config.set_mkldnn_cache_capacity(_ONEDNN_SHAPES)
            if bf16:
                config.enable_mkldnn_bfloat16()
        with _silent_output():
            self._adopt(create_predictor(config))

    def run(self, *batch: np.ndarray) -> np.ndarray:
        """Return the logits, float32 ``[batch, classes]``, and behind them what other outputs there are.

        ``batch`` is an array an input, in the model's order.
        """
        for handle, array in zip(self._inputs, batch):
            handle.reshape(array.shape)
            handle.copy_from_cpu(array)
        self._predictor.run()
        found = [output.copy_to_cpu().astype(np.float32, copy=False) for output in self._outputs]
        if self._shrinks:
            self._predictor.try_shrink_memory()  # or each new shape adds to what the heap holds, half a gigabyte in all
        return found[0] if len(found) == 1 else np.hstack(found)

    def clone(self) -> InferenceModel:
        """Return the same network, which shares this one's weights, to be run in another thread beside it."""
        other = copy(self)
        other._adopt(self._predictor.clone())
        return other

    def _adopt(self, predictor: Any) -> None:
        self._predictor = predictor
        self._inputs = [predictor.get_input_handle(name) for name in predictor.get_input_names()]
        self._outputs = [predictor.get_output_handle(name) for name in predictor.get_output_names()]


class SideBySide(Engine):
    """Engines of the same network, each with threads of its own, which run batches side by side.

    With a batch to each core, none waits for another within a batch: a MiniLM labels SST-2 15 % faster on two cores in
    Paddle Inference. (ONNX Runtime is as fast with all threads in one batch.)
    """

    def __init__(self, engines: Sequence[Engine]) -> None:
        self._first, self._count, free, own = engines[0], len(engines), list(engines), threading.local()
        self._pool = ThreadPoolExecutor(len(engines), initializer=lambda: setattr(own, "engine", free.pop()))
        self._run = lambda index, batch: (index, own.engine.run(*batch))

    def run(self, *batch: np.ndarray) -> np.ndarray:
        """Run a single batch in the caller's thread, while none of `answers` is under way."""
        return self._first.run(*batch)

    def answers(self, batches: Iterable[tuple[np.ndarray, Sequence[np.ndarray]]]) -> Iterator[tuple]:
        waiting: set[Future] = set()
        try:
            for index, batch in batches:
                waiting.add(self._pool.submit(self._run, index, batch))
                if len(waiting) > self._count:  # one more than are run, so that no engine waits for the next
                    done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
                    yield from (future.result() for future in done)
            yield from (future.result() for future in as_completed(waiting))
        finally:
            for future in waiting:  # of a run that was stopped
                future.cancel()


def load_engine(prefix: str | Path, threads: int, bf16: bool, program: Path | None = None) -> Engine:
    """Return an `InferenceModel`, or several of it side by side where there are several ``threads`` of the CPU."""
    share = -(-threads // _MOST_AT_ONCE)
    if runs_on_gpu() or threads == share:
        return InferenceModel(prefix, threads, bf16, program)
    first = InferenceModel(prefix, share, bf16, program)
    return SideBySide([first, *(first.clone() for _ in range(threads // share - 1))])


def runs_on_gpu() -> bool:
    """Return whether ``InferenceModel`` uses a GPU here."""
    return paddle.is_compiled_with_cuda() and paddle.device.cuda.device_count() > 0


def batches_by_length(lengths: np.ndarray, token_budget: int = TOKENS_PER_BATCH,
                      max_rows: int = ROWS_PER_BATCH) -> Iterator[np.ndarray]:
    """Yield the indices of ``lengths`` in batches of (nearly) equal length, longest first.

    A batch holds at most ``max_rows`` rows and, padded, ``token_budget`` tokens (one row may exceed that); its
    shortest row is at most 1/8 shorter than its longest.

    Example: ``lengths=[3, 9, 3, 9, 3], token_budget=9 -> [1], [3], [0, 2, 4]``.
    """
    order = np.argsort(-lengths, kind="stable")
    descending = -lengths[order]  # negative lengths, so that they ascend for searchsorted
    start = 0
    while start < len(order):
        longest = max(int(-descending[start]), 1)
        rows = min(max_rows, max(token_budget // longest, 1))
        too_short = int(np.searchsorted(descending, -longest * (1 - _MAX_PADDING), side="right"))
        end = min(start + rows, max(too_short, start + 1), len(order))
        yield order[start:end]
        start = end


def logits_of(model: Engine, sentences: Sentences, reader: Reader,
              progress: Callable[[int], object] | None = None,
              then: Callable[[np.ndarray], np.ndarray] | None = None) -> np.ndarray:
    """Return the logits of each sentence, float32 ``[n, classes]``, in the order of ``sentences``.

    ``reader`` frames each sentence (or pair) as the model reads it; the caller has cut them to what the model can take.
    ``progress`` is called with the number of sentences done since its last call. ``then`` makes of a batch's answers
    what is returned of them.
    """
    batches = ((index, reader.batch(sentences, index))
               for index in batches_by_length(sentences.lengths + reader.special_tokens(sentences.pairs)))
    logits = None
    for index, answer in model.answers(batches):
        answer = answer if then is None else then(answer)
        if logits is None:
            logits = np.empty((len(sentences), answer.shape[1]), np.float32)
        logits[index] = answer
        if progress:
            progress(len(index))
    return np.empty((0, 0), np.float32) if logits is None else logits


@contextmanager
def _silent_output() -> Iterator[None]:
    """Send what the process's C++ code prints to nowhere: oneDNN's bf16 passes heed no log level."""
    with open(os.devnull, "w") as nowhere:
        saved = [os.dup(descriptor) for descriptor in (1, 2)]
        try:
            for descriptor in (1, 2):
                os.dup2(nowhere.fileno(), descriptor)
            yield
        finally:
            for descriptor, copy in zip((1, 2), saved):
                os.dup2(copy, descriptor)
                os.close(copy)
