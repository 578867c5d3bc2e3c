"""Float weights to int8, symmetric, so that pruned weights stay exactly zero."""

from __future__ import annotations

from typing import Iterable

import numpy as np

from ..student.encoders import encoder_named
from ..student.graph import Int8Array, Weights
from ..student.spec import StudentSpec

_LARGEST_STORED = 127
# CPUs without VNNI instructions add pairs of 8-bit products in 16 bits, where 255 * 127 * 2 is cut off.
# 255 * 64 * 2 isn't: 7 bits give every CPU the same answers.
_LARGEST_MULTIPLIED = 64


def int8_layers(spec: StudentSpec) -> dict[str, list[str]]:
    """Return the layers that can be int8, each with its arrays that become so (biases stay float).

    ``embedding``, those of the encoder (``lstm.0``, ...) and ``hidden``. The output layer isn't one of them: it is a
    few hundred weights, whose rounding falls on the logits directly.
    """
    encoder = {layer: list(arrays) for layer, arrays in encoder_named(spec.encoder).int8_arrays(spec).items()}
    return {"embedding": ["embedding"], **encoder, "hidden": ["hidden.weight"]}


def round_layers(weights: Weights, spec: StudentSpec, layers: Iterable[str] | None = None) -> Weights:
    """Return ``weights`` with the arrays of ``layers`` (all that can be) as int8.

    Each embedding row, gate unit or output has a scale of its own.
    """
    rounded, arrays = dict(weights), int8_layers(spec)
    for layer in arrays if layers is None else layers:
        axis = 0 if layer == "hidden" else 1
        largest = _LARGEST_STORED if layer == "embedding" else _LARGEST_MULTIPLIED
        for name in arrays[layer]:
            rounded[name] = to_int8(weights[name], axis, largest)
    return rounded


def to_int8(array: np.ndarray, axis: int, largest: int = _LARGEST_STORED) -> Int8Array:
    """Round ``array`` to whole numbers within ``+-largest``, one scale for all values along ``axis``.

    Example: ``[[0, 0.5, -1]]``, axis 1 -> values ``[[0, 64, -127]]``, scale ``[[0.00787]]``.
    """
    peak = np.abs(array).max(axis=axis, keepdims=True)
    scale = np.where(peak > 0, peak / largest, 1).astype(np.float32)
    return Int8Array(np.rint(array / scale).astype(np.int8), scale)
