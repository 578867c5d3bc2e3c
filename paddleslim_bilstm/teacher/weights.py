"""The files of a checkpoint, configuration and weights, read without running what a stranger put there."""

from __future__ import annotations

import math
import pickle
from collections import OrderedDict
from pathlib import Path
from typing import Any, Iterable, Sequence

import numpy as np
import safetensors

from ..errors import UserError
from ..storage import read_json

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


CONFIG_FILES = ("config.json", "model_config.json")
WEIGHT_FILES = ("model.safetensors", "model.safetensors.index.json", "model_state.pdparams",
                "model_state.pdparams.index.json")
_REMEDY = "copy the checkpoint again"
_WRAPPERS = ("_orig_mod.", "module.", "_layers.")  # of torch.compile, of PyTorch's and of Paddle's DataParallel
_SAFETENSORS_TYPES = {"F64": np.float64, "F32": np.float32, "F16": np.float16, "I64": np.int64, "I32": np.int32,
                      "U8": np.uint8, "BOOL": np.bool_, "BF16": np.uint16, "U16": np.uint16}  # U16: PaddleNLP's bf16


def checkpoint_files(folder: Path) -> list[Path]:
    """Return the config and the weight files of the checkpoint in ``folder``; empty where it holds none.

    Like PaddleNLP, safetensors go before ``model_state.pdparams`` where a folder holds both.

    Raises:
        UserError: the index of sharded weights is damaged, or names a file that isn't in ``folder``.
    """
    config = next((folder / name for name in CONFIG_FILES if (folder / name).is_file()), None)
    weights = next((folder / name for name in WEIGHT_FILES if (folder / name).is_file()), None)
    if config is None or weights is None:
        return []
    if weights.name.endswith(".index.json"):
        shards = read_json(weights, _REMEDY).get("weight_map")
        if not isinstance(shards, dict) or not all(isinstance(shard, str) for shard in shards.values()):
            raise UserError(f"{weights}: has no weight_map that names the files of the weights; {_REMEDY}")
        return [config, *(_shard(weights, Path(shard).name) for shard in sorted(set(shards.values())))]
    return [config, weights]


def of_pickles(folder: Path) -> str:
    """Return what to do where a folder's weights are PyTorch's pickles alone, the end of an error; else nothing."""
    found = sorted(folder.glob("pytorch_model*.bin"))
    if not found:
        return ""
    return (f"; {found[0].name} is a pickle, which can run code: where you trust it, load it with transformers and "
            "write it again by save_pretrained(FOLDER, safe_serialization=True)")


def _shard(index: Path, name: str) -> Path:
    """Return the file ``name`` beside ``index``; whatever folders the index puts before the name count for nothing."""
    if not (index.parent / name).is_file():
        raise UserError(f"{index}: names {name}, which is not beside it; {_REMEDY}")
    return index.parent / name


def read_config(path: Path) -> dict[str, Any]:
    """Return the model's configuration.

    Raises:
        UserError: it is not a JSON object.
    """
    return read_json(path, _REMEDY)


def read_weights(files: Sequence[Path]) -> dict[str, np.ndarray]:
    """Return the arrays of all ``files`` by name, floats as float32, names as they are spelled today.

    Raises:
        UserError: a file is damaged, or holds something else than arrays.
    """
    weights: dict[str, np.ndarray] = {}
    for file in files:
        weights.update(read_pdparams(file) if file.suffix == ".pdparams" else _read_safetensors(file))
    return {name: _float32(value) for name, value in zip(_todays_names(weights), weights.values())}


def weight_names(files: Sequence[Path]) -> list[str]:
    """Return the names of the arrays that `read_weights` returns; of safetensors without reading these.

    Raises:
        UserError: as of `read_weights`.
    """
    names: list[str] = []
    for file in files:
        if file.suffix == ".pdparams":
            names += read_pdparams(file)
            continue
        try:
            with safetensors.safe_open(file, "numpy") as tensors:
                names += tensors.keys()
        except Exception as error:  # as below
            raise _damaged(file, error) from None
    return _todays_names(names)


def _todays_names(names: Iterable[str]) -> list[str]:
    """Return names in their order, without what wraps them all, and as they are spelled today."""
    names = list(names)
    for wrapper in _WRAPPERS * 2:  # in either order
        if all(name.startswith(wrapper) for name in names):
            names = [name.removeprefix(wrapper) for name in names]
    return list(map(_modern_name, names))


def _damaged(path: Path, error: Exception) -> UserError:
    return UserError(f"{path}: can't be read ({error}); {_REMEDY}")


def _read_safetensors(path: Path) -> dict[str, np.ndarray]:
    try:
        tensors = safetensors.deserialize(path.read_bytes())
    except Exception as error:  # safetensors raises its own class and others, by version
        raise _damaged(path, error) from None
    weights = {}
    for name, tensor in tensors:
        if tensor["dtype"] not in _SAFETENSORS_TYPES:
            raise UserError(f"{path}: {name} has the type {tensor['dtype']}; save the checkpoint in float32 or float16")
        dtype = _SAFETENSORS_TYPES[tensor["dtype"]]
        weights[name] = np.frombuffer(tensor["data"], dtype).reshape(tensor["shape"])
    return weights


def _float32(array: np.ndarray) -> np.ndarray:
    """Return floats as float32; uint16 is how Paddle and we hold bfloat16, which NumPy does not know."""
    if array.dtype == np.uint16:
        return (array.astype(np.uint32) << 16).view(np.float32)
    return array.astype(np.float32) if array.dtype.kind == "f" else array


def _modern_name(name: str) -> str:
    """Early BERT checkpoints call the LayerNorm's weight and bias gamma and beta."""
    return name.replace("LayerNorm.gamma", "LayerNorm.weight").replace("LayerNorm.beta", "LayerNorm.bias")
