"""The engines that run a student: ONNX Runtime, and Paddle Inference for those who have it.

Each gives a function ``(input_ids, token_type_ids) -> logits``, int64 ``[batch, length]`` to float32
``[batch, classes]``, which several threads may call at once. A student of words takes ``word_ids``, int64
``[batch, length]``, and ``lengths``, int64 ``[batch]``, in their place.
"""

from __future__ import annotations

from pathlib import Path
from threading import Lock
from typing import Callable, Sequence

import numpy as np
import onnxruntime

from ..errors import UserError
from ..student.spec import TOKEN_FEEDS, WORD_FEEDS

Logits = Callable[[np.ndarray, np.ndarray], np.ndarray]


def onnx_logits(model: str | Path | bytes, threads: int = 1) -> Logits:
    """Load an ONNX student from a file, or from the bytes of one.

    Raises:
        UserError: ONNX Runtime can't load it.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = 4  # its errors come as exceptions
    try:
        session = onnxruntime.InferenceSession(model if isinstance(model, bytes) else str(model), options,
                                               providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime raises its own classes, by what is damaged
        name = "the ONNX model" if isinstance(model, bytes) else model
        raise UserError(f"{name}: ONNX Runtime can't load it ({type(error).__name__}); copy the file again") from None

    names = _in_order([feed.name for feed in session.get_inputs()])

    def run(ids: np.ndarray, types_or_lengths: np.ndarray) -> np.ndarray:
        return session.run(["logits"], dict(zip(names, (ids, types_or_lengths))))[0]
    return run


def paddle_logits(prefix: str | Path, threads: int = 1) -> Logits:
    """Load ``<prefix>.pdmodel`` and ``<prefix>.pdiparams`` into Paddle Inference; calls take turns.

    Raises:
        UserError: Paddle can't load it.
    """
    from ..host.before_paddle import before_paddle
    before_paddle()
    from paddle.base.proto.framework_pb2 import ProgramDesc
    from paddle.inference import Config, create_predictor
    config = Config(f"{prefix}.pdmodel", f"{prefix}.pdiparams")
    config.disable_gpu()
    config.disable_glog_info()
    config.set_cpu_math_library_num_threads(threads)
    try:
        ProgramDesc.FromString(Path(f"{prefix}.pdmodel").read_bytes())  # garbage would crash Inference
        predictor, turn = create_predictor(config), Lock()
    except Exception as error:  # Paddle raises ValueError, RuntimeError and others, by what is damaged
        raise UserError(f"{prefix}.pdmodel: Paddle can't load it with its .pdiparams ({type(error).__name__}); copy "
                        "both files again") from None

    names = _in_order(predictor.get_input_names())

    def run(ids: np.ndarray, types_or_lengths: np.ndarray) -> np.ndarray:
        with turn:
            for name, value in zip(names, (ids, types_or_lengths)):
                predictor.get_input_handle(name).copy_from_cpu(value)
            predictor.run()
            return predictor.get_output_handle(predictor.get_output_names()[0]).copy_to_cpu()
    return run


def _in_order(names: Sequence[str]) -> tuple[str, str]:
    """Return the names of a student's feeds with the ids first, whatever order the file has them in."""
    return next((feeds for feeds in (TOKEN_FEEDS, WORD_FEEDS) if set(feeds) == set(names)), tuple(names))
