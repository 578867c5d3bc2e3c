"""How fast this machine multiplies bfloat16 matrices: Paddle Inference (oneDNN), all cores, the best of some sizes."""

from __future__ import annotations

import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import paddle
from processes import answer

from paddleslim_bilstm.cpu import has_fast_bf16, physical_cores
from paddleslim_bilstm.teacher import InferenceModel

_SIZES = ((512, 512), (1024, 1024), (2048, 1024), (2048, 2048), (4096, 2048))  # rows, units
_LAYERS = 16  # one after another, so that copying in and out hardly counts
_SECONDS_EACH = 1.0


def measure(job: dict) -> dict:
    """Return GFLOP/s of the first ``job["sizes"]`` sizes, and the best; in float32 where the CPU has no bfloat16."""
    paddle.enable_static()
    rates = {}
    with tempfile.TemporaryDirectory() as folder:
        for rows, units in _SIZES[:job["sizes"]]:
            model = _chain(Path(folder) / f"{rows}x{units}", units)
            left = np.random.default_rng(0).standard_normal((rows, units)).astype(np.float32)
            seconds: list[float] = []
            while len(seconds) < 5 or sum(seconds) < _SECONDS_EACH:
                start = time.perf_counter()
                model.run(left, left)
                seconds.append(time.perf_counter() - start)
            flops = 2 * _LAYERS * rows * units * units
            rates[f"{rows} x {units} x {units}"] = 1e-9 * flops / statistics.median(seconds)
    return {"gflops": max(rates.values()), "by_size": rates, "precision": "bf16" if has_fast_bf16() else "fp32"}


def _chain(prefix: Path, units: int) -> InferenceModel:
    """Return a model that multiplies ``[rows, units]`` by one weight matrix after another."""
    program, startup, executor = paddle.static.Program(), paddle.static.Program(), paddle.static.Executor()
    with paddle.static.program_guard(program, startup), paddle.static.scope_guard(paddle.static.Scope()):
        values = entry = paddle.static.data("entry", [-1, units], "float32")
        for _ in range(_LAYERS):
            values = paddle.static.nn.fc(values, units)
        executor.run(startup)
        paddle.static.save_inference_model(str(prefix), [entry], [values[:, :1]], executor, program=program)
    return InferenceModel(prefix, physical_cores(), bf16=has_fast_bf16())


if __name__ == "__main__":
    answer(measure)
