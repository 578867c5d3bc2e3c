"""What an exported Paddle inference model costs: floating-point operations, parameters, bytes on disk.

The operations are counted from the exported program itself, whatever network it holds: the program runs
once on one sentence, so every shape is the one that is really computed, and the matrix products,
convolutions and recurrent layers are summed.
"""

from __future__ import annotations

import logging
import math
from pathlib import Path

import numpy as np
import paddle

_log = logging.getLogger(__name__)

_PRODUCTS = {  # operator -> (left input, its attribute for "transposed")
    "matmul_v2": ("X", "trans_x"), "matmul": ("X", "transpose_X"), "bmm": ("X", None),
    "fused_gemm_epilogue": ("X", "trans_x"), "fused_matmul": ("X", "trans_x"),
}
_FLATTENED = {"mul": "Y", "fc": "W"}  # operator -> its weight, [contracted, out]
_CONVOLUTIONS = ("conv2d", "depthwise_conv2d")
_COUNTED = {*_PRODUCTS, *_FLATTENED, *_CONVOLUTIONS, "rnn"}
_NO_PRODUCT = {"lookup_table", "lookup_table_v2", "gather", "gather_nd", "cast", "layer_norm", "scale"}
_FLOATING = {paddle.float32, paddle.float64, paddle.float16, paddle.bfloat16}


def flops(prefix: Path, tokens: int, pairs: bool = False) -> int:
    """Return the floating-point operations for one sentence of ``tokens`` tokens, ``[CLS]`` and ``[SEP]`` included.

    With ``pairs`` it is a pair of equally long sides, of so many tokens in all.

    A multiply-add counts as two operations. Element-wise operations (biases, activations, softmax,
    normalization: a few per cent) are left out, as is usual; quantized products count as in float.

    Args:
        prefix: path of the model without ``.pdmodel``.

    Example: a Linear layer ``[384 -> 2]`` on one vector costs ``2 * 384 * 2 = 1536``.
    """
    executor = paddle.static.Executor(paddle.CPUPlace())
    with paddle.static.scope_guard(paddle.static.Scope()):
        program, feed_names, _ = paddle.static.load_inference_model(str(prefix), executor)
        block = program.global_block()
        counted = [op for op in block.ops if op.type in _COUNTED]
        names = sorted({name for op in counted for name in [*op.input_arg_names, *_outputs(op)]
                        if not block.var(name).persistable})
        feed = {name: _one_sentence(block.var(name), tokens, pairs) for name in feed_names}
        values = executor.run(program, feed=feed, fetch_list=names) if names else []
        shapes = {name: np.shape(value) for name, value in zip(names, values)}
    shapes.update({name: tuple(block.var(name).shape) for op in counted for name in op.input_arg_names
                   if block.var(name).persistable})
    _warn_of_uncounted(program)
    return sum(_operations(op, shapes) for op in counted)


def parameters(prefix: Path) -> int:
    """Return how many weights the model holds, float or int8.

    Integer tables (such as the map from token ids to rows of an embedding) and the scales of
    quantization are not weights and are left out; pruned weights count, since they are stored.
    """
    program = _program(prefix)
    scales = {name for op in program.global_block().ops if "quantize" in op.type for slot in op.input_names
              if slot != "X" for name in op.input(slot)}
    return sum(math.prod(var.shape) for var in program.list_vars()
               if _is_weight(var) and var.name not in scales)


def size_bytes(prefix: Path) -> int:
    """Return the bytes on disk of ``prefix.pdmodel`` and ``prefix.pdiparams`` together."""
    return sum(Path(f"{prefix}{suffix}").stat().st_size for suffix in (".pdmodel", ".pdiparams"))


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


def _one_sentence(var, tokens: int, pairs: bool) -> np.ndarray:
    """Return a feed of ones: unknown sizes are ``tokens``, but for the first, the batch, which is 1."""
    shape = [1 if axis == 0 else tokens if size < 0 else size for axis, size in enumerate(var.shape)]
    dtype = {paddle.int64: "int64", paddle.int32: "int32", paddle.bool: "bool"}.get(var.dtype, "float32")
    # Segment ids (and positions) of ones would be a sentence pair without a first sentence.
    types = "type" in var.name or "segment" in var.name
    feed = np.full(shape, 0 if types or "position" in var.name else 1, dtype)
    if types and pairs:  # [CLS] first [SEP], one more than second [SEP]
        feed[..., tokens // 2 + 1:] = 1
    return feed


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
            and var.dtype in _FLOATING | {paddle.int8, paddle.uint8})
