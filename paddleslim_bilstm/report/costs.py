"""What a model costs: size, weights, floating-point operations.

A Paddle program's operations are counted operator by operator, those of somebody's ONNX model in a profile of its run.
"""

from __future__ import annotations

import json
import logging
import math
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import paddle

from ..export.file_names import NEW_PROGRAM, program_file
from ..export.paddle_model import EMBEDDING_SCALE
from ..old_programs import old_programs
from ..scopes import own_scope
from ..teacher import Teacher
from ..teacher.new_program import NewProgram
from ..teacher.onnx_graph import OnnxFile

_log = logging.getLogger(__name__)

_PRODUCTS = {  # operator -> (left input, its attribute for "transposed")
    "matmul_v2": ("X", "trans_x"), "matmul": ("X", "transpose_X"), "bmm": ("X", None),
    "fused_gemm_epilogue": ("X", "trans_x"), "fused_matmul": ("X", "trans_x"),
}
_FLATTENED = {"mul": "Y", "fc": "W"}  # operator -> its weight, [contracted, out]
_CONVOLUTIONS = ("conv2d", "depthwise_conv2d")
_COUNTED = {*_PRODUCTS, *_FLATTENED, *_CONVOLUTIONS, "rnn"}
_NO_PRODUCT = {"lookup_table", "lookup_table_v2", "gather", "gather_nd", "cast", "layer_norm", "scale"}
_WEIGHTS = ("float32", "float64", "float16", "bfloat16", "int8", "uint8")
_ONNX_PRODUCTS = ("MatMul", "MatMulInteger", "QLinearMatMul", "DynamicQuantizeMatMul", "MatMulIntegerToFloat")
_ONNX_GEMMS = ("Gemm", "FusedGemm")
_ONNX_RECURRENT = ("LSTM", "GRU", "RNN", "DynamicQuantizeLSTM")
_ONNX_NOT_COUNTED = ("Conv", "ConvInteger", "QLinearConv", "Einsum", "Attention", "QAttention", "MultiHeadAttention",
                     "GroupQueryAttention", "PackedAttention", "MatMulNBits", "FusedMatMul", "QGemm", "If", "Loop",
                     "Scan")


@old_programs()
def flops(prefix: Path, tokens: int, batch: tuple[np.ndarray, ...] | None = None) -> int | None:
    """Return the floating-point operations for one sentence of ``tokens`` tokens, ``[CLS]`` and ``[SEP]`` included.

    None of a new program, whose operators are others. A multiply-add counts as two operations. Element-wise operations
    (biases, activations, softmax, normalization: a few per cent) are left out, as is usual; quantized products count as
    in float.

    Args:
        prefix: path of the model without ``.pdmodel``.
        batch: the sentence, an array ``[1, tokens]`` a feed. A pair has to be given, as what its sides are its ids or
            types say; a sentence is any.

    Example: a Linear layer ``[384 -> 2]`` on one vector costs ``2 * 384 * 2 = 1536``.
    """
    if program_file(prefix).suffix == NEW_PROGRAM:
        return None
    executor = paddle.static.Executor(paddle.CPUPlace())
    with own_scope():
        program, feed_names, _ = paddle.static.load_inference_model(str(prefix), executor)
        block = program.global_block()
        counted = [op for op in block.ops if op.type in _COUNTED]
        names = sorted({name for op in counted for name in [*op.input_arg_names, *_outputs(op)]
                        if not block.var(name).persistable})
        feed = (dict(zip(feed_names, batch)) if batch else
                {name: _one_sentence(block.var(name), tokens) for name in feed_names})
        values = executor.run(program, feed=feed, fetch_list=names) if names else []
        shapes = {name: np.shape(value) for name, value in zip(names, values)}
    shapes.update({name: tuple(block.var(name).shape) for op in counted for name in op.input_arg_names
                   if block.var(name).persistable})
    _warn_of_uncounted(program)
    return sum(_operations(op, shapes) for op in counted)


@old_programs()
def parameters(prefix: Path) -> int:
    """Return how many weights the model holds, float or int8.

    Integer tables (such as the map from token ids to rows of an embedding) and the scales of
    quantization are not weights and are left out; pruned weights count, since they are stored.
    """
    if program_file(prefix).suffix == NEW_PROGRAM:
        with NewProgram(prefix) as program:
            return program.count_parameters()
    program = _program(prefix)
    scales = {name for op in program.global_block().ops if "quantize" in op.type for slot in op.input_names
              if slot != "X" for name in op.input(slot)} | {EMBEDDING_SCALE}
    return sum(math.prod(var.shape) for var in program.list_vars()
               if _is_weight(var) and var.name not in scales)


def teacher_parameters(teacher: Teacher) -> int | None:
    """Return how many weights the teacher holds, or several hold together, if their networks are at hand."""
    if teacher.members:
        return sum_if_known([teacher_parameters(member.teacher) for member in teacher.members])
    file = teacher.model_file
    if file is None:
        return None
    return onnx_parameters(file) if file.suffix == ".onnx" else parameters(file.with_suffix(""))


def sum_if_known(figures: list[Any]) -> Any:
    """Return the sum, or None where a figure is unknown."""
    return None if None in figures else sum(figures)


def size_bytes(prefix: Path) -> int:
    """Return the bytes on disk of ``prefix.pdmodel`` (or ``.json``) and ``prefix.pdiparams`` together."""
    return sum(file.stat().st_size for file in (program_file(prefix), Path(f"{prefix}.pdiparams")))


def _program(prefix: Path) -> paddle.static.Program:
    return paddle.static.deserialize_program(paddle.static.load_from_file(f"{prefix}.pdmodel"))


def _operations(op, shapes: dict[str, tuple[int, ...]]) -> int:
    """Return the operations of one counted operator, given the shapes of its inputs and outputs."""
    if op.type == "rnn":  # per step, every weight of every layer and direction takes part in one multiply-add
        steps, batch, _ = shapes[op.input("Input")[0]]
        weights = [shapes[name] for name in op.input("WeightList")]
        return 2 * steps * batch * sum(math.prod(shape) for shape in weights if len(shape) == 2)
    if op.type in _CONVOLUTIONS:
        contracted = math.prod(shapes[op.input("Filter")[0]][1:])
    elif op.type in _FLATTENED:
        columns = op.attr("y_num_col_dims") if op.type == "mul" else 1
        contracted = math.prod(shapes[op.input(_FLATTENED[op.type])[0]][:columns])
    else:
        slot, transposed = _PRODUCTS[op.type]
        left = shapes[op.input(slot)[0]]
        contracted = left[-2] if len(left) > 1 and transposed and op.attr(transposed) else left[-1]
    return 2 * contracted * math.prod(shapes[_outputs(op)[0]])


def _outputs(op) -> list[str]:
    slot = "Output" if op.type in _CONVOLUTIONS else "Out"
    return op.output(slot)[:1]


def _one_sentence(var, tokens: int) -> np.ndarray:
    """Return a feed of ones: unknown sizes are ``tokens``, but for the first, the batch, which is 1."""
    shape = [1 if axis == 0 else tokens if size < 0 else size for axis, size in enumerate(var.shape)]
    dtype = {paddle.int64: "int64", paddle.int32: "int32", paddle.bool: "bool"}.get(var.dtype, "float32")
    # Segment ids (and positions) of ones would be a sentence pair without a first sentence.
    zeros = any(part in var.name for part in ("type", "segment", "position"))
    return np.full(shape, 0 if zeros else 1, dtype)


def _warn_of_uncounted(program: paddle.static.Program) -> None:
    """Log operators that may multiply matrices and that we don't know, so that no count is silently too low."""
    block = program.global_block()
    matrices = {var.name for var in program.list_vars() if _is_weight(var) and len(var.shape) > 1}
    unknown = {op.type for op in block.ops if op.type not in _COUNTED | _NO_PRODUCT and "quantize" not in op.type
               and matrices & set(op.input_arg_names)}
    unknown |= {op.type for op in block.ops if op.has_attr("sub_block")}
    if unknown:
        _log.warning("the FLOPs leave out operators that are not known here: %s", ", ".join(sorted(unknown)))


def _is_weight(var) -> bool:
    return (var.persistable and var.name not in ("feed", "fetch")
            and var.dtype in [getattr(paddle, name) for name in _WEIGHTS])


def onnx_parameters(file: Path) -> int:
    """Return how many weights the model holds, float or int8."""
    return OnnxFile(file).parameters()


def onnx_size_bytes(file: Path) -> int:
    """Return the bytes on disk of the model and of the files beside it that hold weights of its."""
    return sum(one.stat().st_size for one in OnnxFile(file).files)


def onnx_flops(file: Path, batch: tuple[np.ndarray, ...]) -> int | None:
    """Return the floating-point operations for ``batch``, as `flops` counts them; None where it can't be told.

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
    if any(node["op_name"] in _ONNX_NOT_COUNTED for node in nodes):
        return None
    return sum(map(_node_operations, nodes))


def _node_operations(node: dict[str, Any]) -> int:
    """Return the operations of one operator, given the shapes of its inputs and outputs."""
    name = node["op_name"]
    if name not in (*_ONNX_PRODUCTS, *_ONNX_GEMMS, *_ONNX_RECURRENT):
        return 0
    inputs, outputs = ([next(iter(one.values())) for one in node[key]] for key in ("input_type_shape",
                                                                                   "output_type_shape"))
    if name in _ONNX_RECURRENT:  # per step, every weight takes part in one multiply-add
        return 2 * inputs[0][0] * inputs[0][1] * sum(math.prod(shape) for shape in inputs[1:3])
    contracted = math.prod(inputs[0]) // outputs[0][0] if name in _ONNX_GEMMS else inputs[0][-1]
    return 2 * contracted * math.prod(outputs[0])
