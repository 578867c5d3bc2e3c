"""Writing a Paddle inference model so that a full disk is noticed and nothing of the machine gets into it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import paddle

_CALL_STACK = "op_callstack"


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


def forget_call_stacks(model: Path) -> None:
    """Take the Python call stack of each operator out of a ``.pdmodel``.

    Paddle writes them there with this machine's paths; without them, the same model is the same file everywhere.
    """
    program = paddle.static.deserialize_program(model.read_bytes())
    for block in program.blocks:
        for operator in block.ops:
            operator.desc.remove_attr(_CALL_STACK)
    model.write_bytes(program.desc.serialize_to_string())
