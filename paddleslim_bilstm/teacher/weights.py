"""The files of a checkpoint of PaddleNLP or Hugging Face: which they are, and what they hold (no pickle is run)."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Sequence

import numpy as np
import safetensors

from ..errors import UserError
from ..files import read_json
from .pdparams import read_pdparams

CONFIG_FILES = ("config.json", "model_config.json")
WEIGHT_FILES = ("model.safetensors", "model.safetensors.index.json", "model_state.pdparams")
_REMEDY = "copy the checkpoint again"
_SAFETENSORS_TYPES = {"F64": np.float64, "F32": np.float32, "F16": np.float16, "I64": np.int64, "I32": np.int32,
                      "U8": np.uint8, "BOOL": np.bool_, "BF16": np.uint16}


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
    return {_modern_name(name): _float32(value) for name, value in weights.items()}


def _read_safetensors(path: Path) -> dict[str, np.ndarray]:
    try:
        tensors = safetensors.deserialize(path.read_bytes())
    except Exception as error:  # safetensors raises its own class and others, by version
        raise UserError(f"{path}: can't be read ({error}); copy the checkpoint again") from None
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
