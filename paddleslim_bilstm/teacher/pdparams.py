"""Reading Paddle's ``.pdparams`` files without running what a stranger put into them."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np

from ..errors import UserError

_SAFE_GLOBALS = {
    ("builtins", "tuple"), ("__builtin__", "tuple"), ("collections", "OrderedDict"), ("_codecs", "encode"),
    ("numpy", "ndarray"), ("numpy", "dtype"),
    *((f"numpy.{core}.{module}", name) for core in ("core", "_core") for module, name in (
        ("multiarray", "_reconstruct"), ("multiarray", "scalar"), ("numeric", "_frombuffer"))),
}
_PADDLE_BOOKKEEPING = "StructuredToParameterName@@"
_SPLIT_PARAMETERS = "UnpackBigParamInfor@@"


def read_pdparams(path: Path) -> dict[str, np.ndarray]:
    """Return the arrays of a ``paddle.save`` state dict by name.

    Paddle's own ``paddle.load`` unpickles whatever a file names, so a downloaded checkpoint could run any code. Here
    only NumPy arrays, tuples, dicts and strings can come out.

    Raises:
        UserError: the file is damaged, holds something else than arrays, or asks for any other Python object.
    """
    try:
        with open(path, "rb") as file:
            state = _ArraysOnly(file).load()
    except _ForbiddenGlobal as error:
        raise UserError(f"{path}: refused, since loading it would run {error} and a checkpoint holds only arrays; "
                        "use a checkpoint that you trust, saved as model.safetensors or by paddle.save") from None
    except Exception as error:  # a damaged pickle raises nearly anything
        raise UserError(f"{path}: can't be read ({type(error).__name__}); copy the checkpoint again") from None
    if not isinstance(state, dict):
        raise UserError(f"{path}: holds a {type(state).__name__}, not a state dict; "
                        "save the model with paddle.save(model.state_dict(), path)")
    return _arrays(path, state)


class _ForbiddenGlobal(Exception):
    pass


class _ArraysOnly(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> object:
        if (module, name) not in _SAFE_GLOBALS:
            raise _ForbiddenGlobal(f"{module}.{name}")
        return super().find_class(module, name)


def _arrays(path: Path, state: dict) -> dict[str, np.ndarray]:
    state.pop(_PADDLE_BOOKKEEPING, None)
    split = state.pop(_SPLIT_PARAMETERS, {})
    for name, parts in split.items():
        pieces = [state.pop(part) for part in parts["slices"]]
        state[name] = np.concatenate(pieces).reshape(parts["OriginShape"])
    arrays = {}
    for name, value in state.items():
        if isinstance(value, tuple) and len(value) == 2:  # Paddle 2.1 and later: (parameter name, array)
            value = value[1]
        if not isinstance(value, np.ndarray) or value.dtype.hasobject:
            raise UserError(f"{path}: {name} is not an array; save the model with "
                            "paddle.save(model.state_dict(), path)")
        arrays[name] = value
    return arrays
