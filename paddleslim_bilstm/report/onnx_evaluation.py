"""A user's ``eval_callback``, which asks a Paddle executor, run on an ONNX file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import paddle

from ..student.train import Evaluate


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
        self.feed_names = [feed.name for feed in self._session.get_inputs()]

    def run(self, program: Any = None, feed: Any = None, fetch_list: Any = None, **_: Any) -> list[np.ndarray]:
        """Return ``[logits]`` of a feed, a dict by name (or a list with one) of arrays or Paddle's tensors."""
        values = feed[0] if isinstance(feed, (list, tuple)) else feed
        return self._session.run(["logits"], {name: np.array(values[name], np.int64) for name in self.feed_names})
