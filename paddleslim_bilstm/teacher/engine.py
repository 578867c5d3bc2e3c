"""Running an inference model over many sentences, as fast as the machine allows."""

from __future__ import annotations

import os
from contextlib import contextmanager
from pathlib import Path
from typing import Callable, Iterator

import numpy as np
import paddle
from paddle.inference import Config, create_predictor

from ..tokens import Reader, Sentences

TOKENS_PER_BATCH = 4096
ROWS_PER_BATCH = 512
_MAX_PADDING = 1 / 8
# oneDNN keeps a reordered copy of all weights for each input shape that it remembers. Batches come sorted by length,
# so that remembering the last shape is as fast as remembering ten.
_ONEDNN_SHAPES = 1
_GPU_MEMORY_MB = 512


class InferenceModel:
    """A classifier saved as ``<prefix>.pdmodel`` and ``<prefix>.pdiparams``, run by Paddle Inference.

    Runs on the first GPU where Paddle and the machine have one, otherwise through oneDNN on ``threads`` CPU threads.

    Args:
        prefix: path of the two files without their suffix.
        threads: CPU threads.
        bf16: multiply matrices in bfloat16; about twice as fast where the CPU has it, slower where it has not.
    """

    def __init__(self, prefix: str | Path, threads: int, bf16: bool = False) -> None:
        config = Config(f"{prefix}.pdmodel", f"{prefix}.pdiparams")
        config.disable_glog_info()
        config.enable_memory_optim()
        if runs_on_gpu():
            config.enable_use_gpu(_GPU_MEMORY_MB, 0)
        else:
            config.disable_gpu()
            config.set_cpu_math_library_num_threads(threads)
            config.enable_mkldnn()
            config.set_mkldnn_cache_capacity(_ONEDNN_SHAPES)
            if bf16:
                config.enable_mkldnn_bfloat16()
        with _silent_output():
            self._predictor = create_predictor(config)
        self._inputs = [self._predictor.get_input_handle(name) for name in self._predictor.get_input_names()]
        self._output = self._predictor.get_output_handle(self._predictor.get_output_names()[0])

    def run(self, *batch: np.ndarray) -> np.ndarray:
        """Return the logits, float32 ``[batch, classes]``; ``batch`` is an array an input, in the model's order."""
        for handle, array in zip(self._inputs, batch):
            handle.reshape(array.shape)
            handle.copy_from_cpu(array)
        self._predictor.run()
        logits = self._output.copy_to_cpu().astype(np.float32, copy=False)
        self._predictor.try_shrink_memory()  # or each new shape adds to what the heap holds, half a gigabyte in all
        return logits


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


def logits_of(model: InferenceModel, sentences: Sentences, reader: Reader,
              progress: Callable[[int], object] | None = None) -> np.ndarray:
    """Return the logits of each sentence, float32 ``[n, classes]``, in the order of ``sentences``.

    ``reader`` frames each sentence (or pair) as the model reads it; the caller has cut them to what the model can take.
    ``progress`` is called with the number of sentences done since its last call.
    """
    logits = None
    for index in batches_by_length(sentences.lengths + reader.special_tokens(sentences.pairs)):
        answer = model.run(*reader.batch(sentences, index))
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
