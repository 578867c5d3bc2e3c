"""The student's weights as named NumPy arrays: first values, and ``student.safetensors`` beside ``student.json``."""

from __future__ import annotations

from pathlib import Path
from typing import Mapping

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save

from ..errors import UserError
from ..storage import whole_file
from .encoders import encoder_named
from .spec import StudentSpec, read_spec, write_spec

Weights = dict  # name -> float32 array; "token_map" is int32


def num_features(spec: StudentSpec) -> int:
    """Return what the tanh layer sees: the encoder's vector of a sentence, of a pair those of both sides, compared."""
    return (4 if spec.pairs else 1) * encoder_named(spec.encoder).features(spec)


def weight_shapes(spec: StudentSpec, rows: int) -> dict[str, tuple[int, ...]]:
    """Return the shape of every trained weight, by name; the gates of recurrent layers in Paddle's order."""
    hidden, classes = spec.hidden_size, spec.num_classes
    return {"embedding": (rows, spec.table_units), **encoder_named(spec.encoder).shapes(spec),
            "hidden.weight": (num_features(spec), hidden), "hidden.bias": (hidden,),
            "output.weight": (hidden, classes), "output.bias": (classes,)}


def first_weights(spec: StudentSpec, token_map: np.ndarray, embedding: np.ndarray | None,
                  rng: np.random.Generator) -> Weights:
    """Draw the weights that training starts from.

    The encoder draws its own; linear layers are uniform as Paddle's own (Xavier); the embedding is ``embedding``
    (float32 ``[rows, table_units]``) or, without one, uniform +-0.1 as in the tutorial.
    """
    encoder, weights = encoder_named(spec.encoder), {"token_map": token_map}
    of_encoder = encoder.shapes(spec)
    for name, shape in weight_shapes(spec, int(token_map.max()) + 1).items():
        if name == "embedding":
            value = embedding if embedding is not None else rng.uniform(-0.1, 0.1, shape)
        elif name in of_encoder:
            value = encoder.draw(name, shape, spec, rng)
        elif name.endswith("bias"):
            value = np.zeros(shape)
        else:
            value = rng.uniform(-1, 1, shape) * np.sqrt(6 / sum(shape))
        weights[name] = np.ascontiguousarray(value, np.float32)
    return weights


def size_bytes(weights: Weights) -> int:
    """Return the size of all arrays together."""
    return sum(array.nbytes for array in weights.values())


WEIGHTS_FILE = "student.safetensors"


def save_student(folder: str | Path, weights: Mapping[str, np.ndarray], spec: StudentSpec) -> None:
    """Write the student into ``folder``.

    Args:
        weights: float32 arrays by the names of `weight_shapes`, and ``token_map``,
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
