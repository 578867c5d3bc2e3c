"""Writing a Paddle inference model so that a full disk is noticed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import paddle


def save_inference_model(prefix: Path, feeds: list, outputs: list, executor: Any, program: Any) -> None:
    """Write ``<prefix>.pdmodel`` and ``<prefix>.pdiparams`` as ``paddle.static.save_inference_model`` does.

    Paddle's own writer of parameters leaves a cut file on a full disk and reports success, so they are written again
    here.

    Raises:
        OSError: the disk is full, or the folder can't be written.
    """
    paddle.static.save_inference_model(str(prefix), feeds, outputs, executor, program=program)
    parameters = paddle.static.serialize_persistables(feeds, outputs, executor, program=program)
    Path(f"{prefix}.pdiparams").write_bytes(parameters)
