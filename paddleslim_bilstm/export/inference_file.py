"""The files of a Paddle inference model, written so that a full disk is noticed and no path of a machine is in them."""

from __future__ import annotations

import heapq
import math
import struct
from pathlib import Path
from typing import Any

import paddle
from google.protobuf.message import DecodeError
from paddle.base.proto.framework_pb2 import ProgramDesc, VarType

from ..old_programs import old_programs

_CALL_STACK = "op_callstack"
_ITEM_BYTES = {VarType.BOOL: 1, VarType.UINT8: 1, VarType.INT8: 1, VarType.FP16: 2, VarType.BF16: 2, VarType.INT16: 2,
               VarType.INT32: 4, VarType.FP32: 4, VarType.INT64: 8, VarType.FP64: 8}


@old_programs()
def save_inference_model(prefix: Path, feeds: list, outputs: list, executor: Any, program: Any) -> None:
    """Write ``<prefix>.pdmodel`` and ``<prefix>.pdiparams`` as ``paddle.static.save_inference_model`` does.

    Paddle's own writer of parameters leaves a cut file on a full disk and reports success, so they are written again
    here. The program goes without call stacks.

    Raises:
        OSError: the disk is full, or the folder can't be written.
    """
    paddle.static.save_inference_model(str(prefix), feeds, outputs, executor, program=program)
    forget_call_stacks(Path(f"{prefix}.pdmodel"))
    parameters = paddle.static.serialize_persistables(feeds, outputs, executor, program=program)
    Path(f"{prefix}.pdiparams").write_bytes(parameters)


@old_programs()
def forget_call_stacks(model: Path) -> None:
    """Take the Python call stack of each operator out of a ``.pdmodel``.

    Paddle writes them there with this machine's paths; without them, the same model is the same file everywhere.
    """
    program = paddle.static.deserialize_program(model.read_bytes())
    for block in program.blocks:
        for operator in block.ops:
            operator.desc.remove_attr(_CALL_STACK)
    model.write_bytes(program.desc.serialize_to_string())


def put_in_order(model: Path) -> None:
    """Bring the operators of a ``.pdmodel`` into an order that follows from the program alone.

    PaddleSlim's graph passes leave it to the addresses in memory which of two independent operators comes first.
    """
    program = ProgramDesc.FromString(model.read_bytes())
    for block in program.blocks:
        ordered = _in_order(list(block.ops))
        del block.ops[:]
        block.ops.extend(ordered)
    model.write_bytes(program.SerializeToString(deterministic=True))


def _in_order(operators: list) -> list:
    """Return the operators, each behind all that it depends on, otherwise by the names of what they write."""
    read = [{name for slot in operator.inputs for name in slot.arguments} for operator in operators]
    written = [sorted({name for slot in operator.outputs for name in slot.arguments}) for operator in operators]
    waits_for: list[set[int]] = []
    writers: dict[str, int] = {}
    readers: dict[str, set[int]] = {}
    for position in range(len(operators)):
        before = {writers[name] for name in (*read[position], *written[position]) if name in writers}
        before.update(*(readers.get(name, ()) for name in written[position]))  # who still wants the old value
        waits_for.append(before - {position})
        for name in read[position]:
            readers.setdefault(name, set()).add(position)
        for name in written[position]:
            writers[name], readers[name] = position, set()
    followers: dict[int, list[int]] = {}
    for position, before in enumerate(waits_for):
        for one in before:
            followers.setdefault(one, []).append(position)
    ready = [(operators[position].type != "feed", written[position], position)
             for position, before in enumerate(waits_for) if not before]
    heapq.heapify(ready)
    order = []
    while ready:
        position = heapq.heappop(ready)[-1]
        order.append(operators[position])
        for follower in followers.get(position, ()):
            waits_for[follower].remove(position)
            if not waits_for[follower]:
                heapq.heappush(ready, (operators[follower].type != "feed", written[follower], follower))
    return order


def ends_whole(parameters: Path) -> bool:
    """Return whether a ``.pdiparams`` ends where its last parameter does.

    Paddle doesn't ask: of a file that was cut, it runs the model with whatever is in memory.
    """
    size = parameters.stat().st_size
    with open(parameters, "rb") as file:
        while file.tell() < size:
            try:
                _, levels = struct.unpack("<IQ", file.read(12))
                for _ in range(levels):
                    file.seek(struct.unpack("<Q", file.read(8))[0], 1)
                _, length = struct.unpack("<Ii", file.read(8))
                tensor = VarType.TensorDesc.FromString(file.read(length))
                file.seek(math.prod(tensor.dims) * _ITEM_BYTES[tensor.data_type], 1)
            except (struct.error, DecodeError, KeyError, ValueError, OverflowError):
                return False
        return file.tell() == size
