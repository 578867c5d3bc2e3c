"""Reading Paddle's ``.pdparams`` files without running what a stranger put into them."""

from __future__ import annotations

import math
import pickle
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import UserError

_PADDLE_BOOKKEEPING = "StructuredToParameterName@@"
_SPLIT_PARAMETERS = "UnpackBigParamInfor@@"
_NUMBERS = ("b1", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8")


def read_pdparams(path: Path) -> dict[str, np.ndarray]:
    """Return the arrays of a ``paddle.save`` state dict by name.

    Paddle's own ``paddle.load`` unpickles whatever a file names, so a downloaded checkpoint could run any code. Here
    only arrays of numbers, tuples, dicts and strings can come out; even NumPy's own way to unpickle is replaced,
    since it believes what a file says about types and sizes.

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
        if (module, name) not in _STAND_INS:
            raise _ForbiddenGlobal(f"{module}.{name}")
        return _STAND_INS[module, name]


class _Type:
    """Stands in for ``numpy.dtype``: a type of numbers and its byte order, nothing else."""

    def __init__(self, code: str, *_: object):
        if code not in _NUMBERS:
            raise ValueError(f"{code} is no type of numbers")
        self.dtype = np.dtype(code)

    def __setstate__(self, state: tuple) -> None:
        self.dtype = self.dtype.newbyteorder({"<": "<", ">": ">", "|": "|", "=": "="}[state[1]])


class _Array:
    """Stands in for ``numpy.ndarray``, whose state is (version,) shape, type, in Fortran's order or not, bytes."""

    value: np.ndarray | None = None

    def __init__(self, *_: object):
        pass

    def __setstate__(self, state: tuple) -> None:
        shape, dtype, fortran, data = state[-4:]
        self.value = _array(data, dtype, shape, "F" if fortran else "C").value


def _array(data: bytes, dtype: _Type, shape: tuple, order: str = "C") -> _Array:
    if not isinstance(data, (bytes, bytearray)) or not all(type(size) is int and size >= 0 for size in shape) \
            or len(data) != math.prod(shape) * dtype.dtype.itemsize:
        raise ValueError("bytes that don't fill the array")
    array = _Array()
    array.value = np.frombuffer(bytes(data), dtype.dtype).reshape(shape, order=order)
    return array


def _encode(text: str, encoding: str) -> bytes:
    """Stands in for ``_codecs.encode``, with which old pickles hold bytes."""
    if encoding != "latin1":
        raise ValueError(f"bytes in {encoding}")
    return text.encode("latin1")


_STAND_INS: dict[tuple[str, str], Any] = {
    ("builtins", "tuple"): tuple, ("__builtin__", "tuple"): tuple, ("collections", "OrderedDict"): OrderedDict,
    ("_codecs", "encode"): _encode, ("__builtin__", "bytes"): lambda: b"",
    ("numpy", "ndarray"): _Array, ("numpy", "dtype"): _Type,
}
for _core in ("numpy.core", "numpy._core"):
    _STAND_INS[f"{_core}.multiarray", "_reconstruct"] = _Array
    _STAND_INS[f"{_core}.multiarray", "scalar"] = lambda dtype, data: _array(data, dtype, ())
    _STAND_INS[f"{_core}.numeric", "_frombuffer"] = _array


def _arrays(path: Path, state: dict) -> dict[str, np.ndarray]:
    state.pop(_PADDLE_BOOKKEEPING, None)
    split = state.pop(_SPLIT_PARAMETERS, {})
    arrays = {}
    for name, value in state.items():
        if isinstance(value, tuple) and len(value) == 2:  # Paddle 2.1 and later: (parameter name, array)
            value = value[1]
        if not isinstance(name, str) or not isinstance(value, _Array) or value.value is None:
            raise UserError(f"{path}: {name} is not an array; save the model with "
                            "paddle.save(model.state_dict(), path)")
        arrays[name] = value.value
    try:
        for name, parts in split.items():
            pieces = [arrays.pop(part) for part in parts["slices"]]
            arrays[name] = np.concatenate(pieces).reshape(parts["OriginShape"])
    except (AttributeError, KeyError, TypeError, ValueError):
        raise UserError(f"{path}: the parts of a large parameter don't fit together; copy the checkpoint again") \
            from None
    return arrays
