"""Float weights to int8, symmetric, so that pruned weights stay exactly zero."""

from __future__ import annotations

import numpy as np

from ..export.int8_array import Int8Array, Weights
from ..student.spec import StudentSpec
from ..student.weights import DIRECTIONS

_LARGEST_STORED = 127
# CPUs without VNNI instructions add pairs of 8-bit products in 16 bits, where 255 * 127 * 2 is cut off.
# 255 * 64 * 2 isn't: 7 bits give every CPU the same answers.
_LARGEST_MULTIPLIED = 64


def int8_layers(spec: StudentSpec) -> list[str]:
    """Return the layers that can be int8: ``embedding``, ``lstm.0``, ... and ``hidden``.

    The output layer isn't one of them: it is a few hundred weights, whose rounding falls on the logits directly.
    """
    return ["embedding", *(f"lstm.{layer}" for layer in range(spec.num_layers)), "hidden"]


def layer_arrays(layer: str) -> list[str]:
    """Return the names of the arrays of ``layer`` that become int8 (biases stay float)."""
    if layer.startswith("lstm."):
        return [f"{layer}.{direction}.{part}" for direction in DIRECTIONS for part in ("weight_ih", "weight_hh")]
    return [layer if layer == "embedding" else f"{layer}.weight"]


def round_layers(weights: Weights, layers: list[str]) -> Weights:
    """Return ``weights`` with the arrays of ``layers`` as int8: a scale an embedding row, gate unit or output."""
    rounded = dict(weights)
    for layer in layers:
        axis = 0 if layer == "hidden" else 1
        largest = _LARGEST_STORED if layer == "embedding" else _LARGEST_MULTIPLIED
        for name in layer_arrays(layer):
            rounded[name] = to_int8(weights[name], axis, largest)
    return rounded


def to_int8(array: np.ndarray, axis: int, largest: int = _LARGEST_STORED) -> Int8Array:
    """Round ``array`` to whole numbers within ``+-largest``, one scale for all values along ``axis``.

    Example: ``[[0, 0.5, -1]]``, axis 1 -> values ``[[0, 64, -127]]``, scale ``[[0.00787]]``.
    """
    peak = np.abs(array).max(axis=axis, keepdims=True)
    scale = np.where(peak > 0, peak / largest, 1).astype(np.float32)
    return Int8Array(np.rint(array / scale).astype(np.int8), scale)
