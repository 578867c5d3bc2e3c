"""An int8 embedding put into a Paddle model that PaddleSlim has quantized, beside its int8 layers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import paddle

from ..export.paddle_model import MODEL_NAME, parameter_names
from ..inference_file import save_inference_model
from ..student.graph import Int8Array
from ..student.spec import StudentSpec


def put_int8_embedding(source: Path, folder: Path, spec: StudentSpec, table: Int8Array) -> None:
    """Write the student at the prefix ``source`` into ``folder``, its embedding replaced, all else as it is.

    Args:
        table: values int8 ``[rows, units]``, a scale a row.
    """
    place = paddle.CPUPlace()
    executor = paddle.static.Executor(place)
    with paddle.static.scope_guard(paddle.static.Scope()), paddle.utils.unique_name.guard("int8_"):
        program, feed_names, outputs = paddle.static.load_inference_model(str(source), executor)
        block = program.global_block()
        parameter = parameter_names(spec)["embedding"]
        position, lookup = next((position, op) for position, op in enumerate(block.ops)
                                if op.type == "lookup_table_v2" and op.input("W") == [parameter])
        ids, rows = block.var(lookup.input("Ids")[0]), block.var(lookup.output("Out")[0])

        def stored(name: str, value: np.ndarray):
            paddle.static.global_scope().var(name).get_tensor().set(value, place)
            return block.create_var(name=name, shape=value.shape, dtype=str(value.dtype), persistable=True,
                                    stop_gradient=True)

        def found(name: str, dtype: str, units: int):
            return block.create_var(name=name, shape=[*ids.shape, units], dtype=dtype)

        values, scale = stored("embedding_int8", table.values), stored("embedding_scale", table.scale)
        one = stored("embedding_one", np.ones(1, np.float32))
        units = table.values.shape[1]
        int8_rows, row_scale = found("embedding_rows", "int8", units), found("embedding_row_scale", "float32", 1)
        whole = found("embedding_as_float", "float32", units)
        block._remove_op(position)
        for kind, inputs, output, attributes in reversed((
                ("lookup_table_v2", {"W": values, "Ids": ids}, int8_rows, {}),
                ("dequantize_abs_max", {"X": int8_rows, "Scale": one}, whole, {"max_range": 1.0}),
                ("lookup_table_v2", {"W": scale, "Ids": ids}, row_scale, {}),
                ("elementwise_mul", {"X": whole, "Y": row_scale}, rows, {"axis": -1}))):
            block._insert_op(position, type=kind, inputs=inputs, outputs={"Out": output}, attrs=attributes)
        block._remove_var(parameter)
        save_inference_model(folder / MODEL_NAME, [block.var(name) for name in feed_names], outputs, executor, program)
