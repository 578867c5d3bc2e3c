"""A user's ``eval_callback``, which asks a Paddle executor, run on an ONNX file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import paddle

from ..student.train import Evaluate

_NUMBERS = {"tensor(int64)": np.int64, "tensor(int32)": np.int32, "tensor(float)": np.float32, "tensor(bool)": np.bool_}


def metric_of_onnx(path: Path, evaluate: Evaluate) -> float:
    """Run an ``eval_callback`` on the student's ONNX file: its executor asks ONNX Runtime, whatever the program."""
    executor = _OnnxExecutor(path)
    return float(evaluate(executor, paddle.static.Program(), executor.feed_names, ["logits"]))


class _OnnxExecutor:
    """Stands in for ``paddle.static.Executor``."""

    def __init__(self, path: Path):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        self._types = {feed.name: _NUMBERS[feed.type] for feed in self._session.get_inputs()}
        self.feed_names = list(self._types)

    def run(self, program: Any = None, feed: Any = None, fetch_list: Any = None, **_: Any) -> list[np.ndarray]:
        """Return ``[logits]`` of a feed, a dict by name (or a list with one) of arrays or Paddle's tensors."""
        values = feed[0] if isinstance(feed, (list, tuple)) else feed
        feed = {name: np.array(values[name], dtype) for name, dtype in self._types.items()}
        return self._session.run(["logits"], feed)
