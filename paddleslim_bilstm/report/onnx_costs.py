"""What somebody's ONNX model costs: weights, bytes, and operations counted while it answers one sentence."""

from __future__ import annotations

import json
import math
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from ..teacher.onnx_graph import OnnxFile

_PRODUCTS = ("MatMul", "MatMulInteger", "QLinearMatMul", "DynamicQuantizeMatMul", "MatMulIntegerToFloat")
_GEMMS = ("Gemm", "FusedGemm")
_RECURRENT = ("LSTM", "GRU", "RNN", "DynamicQuantizeLSTM")
_NOT_COUNTED = ("Conv", "ConvInteger", "QLinearConv", "Einsum", "Attention", "QAttention", "MultiHeadAttention",
                "GroupQueryAttention", "PackedAttention", "MatMulNBits", "FusedMatMul", "QGemm", "If", "Loop", "Scan")


def onnx_parameters(file: Path) -> int:
    """Return how many weights the model holds, float or int8."""
    return OnnxFile(file).parameters()


def onnx_size_bytes(file: Path) -> int:
    """Return the bytes on disk of the model and of the files beside it that hold weights of its."""
    return sum(one.stat().st_size for one in OnnxFile(file).files)


def onnx_flops(file: Path, batch: tuple[np.ndarray, ...]) -> int | None:
    """Return the floating-point operations for ``batch``, as `measure.flops` counts them; None where it can't be told.

    ONNX Runtime's profile tells the shapes that every matrix product has seen.
    """
    with tempfile.TemporaryDirectory() as folder:
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        options.intra_op_num_threads, options.log_severity_level = 1, 4
        options.enable_profiling, options.profile_file_prefix = True, str(Path(folder) / "profile")
        session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
        session.run(None, dict(zip((one.name for one in session.get_inputs()), batch)))
        events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
    nodes = [event["args"] for event in events if event.get("name", "").endswith("_kernel_time")]
    if any(node["op_name"] in _NOT_COUNTED for node in nodes):
        return None
    return sum(map(_operations, nodes))


def _operations(node: dict[str, Any]) -> int:
    """Return the operations of one operator, given the shapes of its inputs and outputs."""
    name = node["op_name"]
    if name not in (*_PRODUCTS, *_GEMMS, *_RECURRENT):
        return 0
    inputs, outputs = ([next(iter(one.values())) for one in node[key]] for key in ("input_type_shape",
                                                                                   "output_type_shape"))
    if name in _RECURRENT:  # per step, every weight takes part in one multiply-add
        return 2 * inputs[0][0] * inputs[0][1] * sum(math.prod(shape) for shape in inputs[1:3])
    contracted = math.prod(inputs[0]) // outputs[0][0] if name in _GEMMS else inputs[0][-1]
    return 2 * contracted * math.prod(outputs[0])
