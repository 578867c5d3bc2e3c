"""The float student on disk: ``student.safetensors`` (arrays) beside ``student.json`` (sizes and labels)."""

from __future__ import annotations

from pathlib import Path
from typing import Mapping

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save

from ..errors import UserError
from ..storage import whole_file
from ..student.spec import StudentSpec
from ..student.spec_file import read_spec, write_spec
from ..student.weights import weight_shapes

WEIGHTS_FILE = "student.safetensors"


def save_student(folder: str | Path, weights: Mapping[str, np.ndarray], spec: StudentSpec) -> None:
    """Write the student into ``folder``.

    Args:
        weights: float32 arrays by the names of `student.weights.weight_shapes`, and ``token_map``,
            int32 ``[vocabulary]``: the embedding row of each of the teacher's tokens.

    Raises:
        UserError: an array is missing, or has another shape or type than ``spec`` asks for.
    """
    path = Path(folder) / WEIGHTS_FILE
    _check(path, weights, spec)
    with whole_file(path) as partial:
        partial.write_bytes(save({name: np.ascontiguousarray(weights[name]) for name in sorted(weights)}))
    write_spec(folder, spec)


def load_student(folder: str | Path) -> tuple[dict[str, np.ndarray], StudentSpec]:
    """Read the student that `save_student` wrote into ``folder``.

    Raises:
        UserError: a file is missing or damaged, or the arrays don't have the sizes of ``student.json``.
    """
    spec = read_spec(folder)
    path = Path(folder) / WEIGHTS_FILE
    if not path.is_file():
        raise UserError(f"{path}: no such file; name a folder that `paddleslim-bilstm compress` has written")
    try:
        weights = load_file(str(path))
    except SafetensorError as error:
        raise UserError(f"{path}: not a safetensors file ({error}); copy it from the output folder again") from None
    _check(path, weights, spec)
    return weights, spec


def _check(path: Path, weights: Mapping[str, np.ndarray], spec: StudentSpec) -> None:
    remedy = "write the student again with `paddleslim-bilstm compress`"
    rows = len(weights["embedding"]) if "embedding" in weights else 0
    for name, shape in weight_shapes(spec, rows).items():
        if name not in weights:
            raise UserError(f"{path}: no array {name}; {remedy}")
        if weights[name].shape != shape or weights[name].dtype != np.float32:
            raise UserError(f"{path}: {name} is {weights[name].dtype} {list(weights[name].shape)}, "
                            f"student.json asks for float32 {list(shape)}; {remedy}")
    token_map = weights.get("token_map")
    if token_map is None or token_map.dtype != np.int32 or token_map.ndim != 1:
        raise UserError(f"{path}: token_map must be an int32 array, one row number a token; {remedy}")
    if not len(token_map) or token_map.min() < 0 or token_map.max() >= rows:
        raise UserError(f"{path}: token_map names rows outside the embedding's {rows}; {remedy}")
