"""The engines that run a student, and sentences through them in padded batches of like length."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Lock
from typing import Callable, Sequence

import numpy as np
import onnxruntime

from ..errors import UserError
from ..tokens import Framing, Reader, Sentences
from ..tokens.framing import TokenIds


class Workers:
    """Threads that run batches side by side, and wait in between; ``count`` 1 is the caller's own."""

    def __init__(self, count: int = 1):
        self.count = count
        self._pool = ThreadPoolExecutor(count) if count > 1 else None

    def map(self, function: Callable, parts: Sequence) -> list:
        """Return ``function`` of each of ``parts``, the last of which is begun first."""
        if self._pool is None or len(parts) == 1:
            return [function(part) for part in parts]
        return list(self._pool.map(function, parts[::-1]))[::-1]


_CALLER = Workers()


def sentence_logits(run: Logits, sentences: Sequence[TokenIds], framing: Framing, max_seq_length: int,
                    batch_size: int, workers: Workers = _CALLER) -> np.ndarray:
    """Return the logits of ``sentences``, one or more, in their order, float32 ``[n, classes]``.

    Args:
        run: an array ``[batch, length]`` a feed of ``framing`` to logits ``[batch, classes]``.
        sentences: content token ids; lists, since for a single sentence they are faster than arrays.
        max_seq_length: tokens a sentence or pair is cut to, special tokens included.
        batch_size: sentences a batch; sorted by length first, so that batches hold little padding.
        workers: they share the batches, one each at least.
    """
    rows, of_second = zip(*[framing.frame(ids, max_seq_length) for ids in sentences])

    def feeds(part: Sequence[int]) -> tuple[np.ndarray, ...]:
        return framing.pad([rows[index] for index in part], [of_second[index] for index in part])

    order = sorted(range(len(rows)), key=lambda index: len(rows[index]))
    return _in_batches(run, feeds, order, batch_size, workers)


def batch_logits(run: Logits, sentences: Sentences, reader: Reader, batch_size: int,
                 workers: Workers = _CALLER) -> np.ndarray:
    """Return the logits of ``sentences``, one or more, which are cut to what is served; else as `sentence_logits`."""
    order = np.argsort(sentences.lengths, kind="stable")
    return _in_batches(run, lambda part: reader.batch(sentences, part), order, batch_size, workers)


def _in_batches(run: Logits, feeds: Callable[[Sequence[int]], tuple[np.ndarray, ...]], order: Sequence[int],
                batch_size: int, workers: Workers) -> np.ndarray:
    if len(order) == 1:
        return run(*feeds(order))
    size = min(batch_size, -(-len(order) // workers.count))
    parts = [order[start:start + size] for start in range(0, len(order), size)]
    logits = np.concatenate(workers.map(lambda part: run(*feeds(part)), parts))
    logits[order] = logits.copy()
    return logits


Logits = Callable[..., np.ndarray]


def onnx_logits(model: str | Path | bytes) -> Logits:
    """Load an ONNX student from a file, or from the bytes of one; several threads may call it, each runs by itself.

    Raises:
        UserError: ONNX Runtime can't load it.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4  # its errors come as exceptions
    try:
        session = onnxruntime.InferenceSession(model if isinstance(model, bytes) else str(model), options,
                                               providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime raises its own classes, by what is damaged
        name = "the ONNX model" if isinstance(model, bytes) else model
        raise UserError(f"{name}: ONNX Runtime can't load it ({type(error).__name__}); copy the file again") from None

    names = [feed.name for feed in session.get_inputs()]

    def run(*batch: np.ndarray) -> np.ndarray:
        return session.run(["logits"], dict(zip(names, batch)))[0]
    return run


def paddle_logits(prefix: str | Path, threads: int = 1) -> Logits:
    """Load ``<prefix>.pdmodel`` (or ``.json``) and ``<prefix>.pdiparams`` into Paddle Inference; calls take turns.

    Raises:
        UserError: Paddle can't load it.
    """
    from ..host.versions import before_paddle
    before_paddle()
    from paddle.base.proto.framework_pb2 import ProgramDesc
    from paddle.inference import Config, create_predictor

    from ..export.file_names import NEW_PROGRAM, program_file
    from ..export.inference_file import ends_whole
    program = program_file(prefix)
    config = Config(str(program), f"{prefix}.pdiparams")
    config.disable_gpu()
    config.disable_glog_info()
    config.disable_mkldnn()  # on by default: it prepares all weights anew for each length, and keeps ten copies of them
    if program.suffix != NEW_PROGRAM:  # Paddle can't for its new programs
        config.enable_memory_optim()
    config.set_cpu_math_library_num_threads(threads)
    try:
        parse = json.loads if program.suffix == NEW_PROGRAM else ProgramDesc.FromString
        parse(program.read_bytes())  # garbage would crash Inference
        if not ends_whole(Path(f"{prefix}.pdiparams")):
            raise ValueError
        predictor, turn = create_predictor(config), Lock()
    except Exception as error:  # Paddle raises ValueError, RuntimeError and others, by what is damaged
        raise UserError(f"{program}: Paddle can't load it with its .pdiparams ({type(error).__name__}); copy "
                        "both files again") from None

    names = predictor.get_input_names()

    def run(*batch: np.ndarray) -> np.ndarray:
        with turn:
            for name, value in zip(names, batch):
                predictor.get_input_handle(name).copy_from_cpu(value)
            predictor.run()
            return predictor.get_output_handle(predictor.get_output_names()[0]).copy_to_cpu()
    return run
