"""Weights as int8 with their scales, for exports that store them so."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Mapping, Union

import numpy as np


@dataclass(frozen=True)
class Int8Array:
    """Symmetric int8 weights: ``values * scale`` are the weights, zero stays exactly zero.

    Attributes:
        values: int8, the shape of the weights.
        scale: float32, as many axes as ``values``, 1 along those that share a scale.
    """

    values: np.ndarray
    scale: np.ndarray

    def to_float(self) -> np.ndarray:
        """Return the weights that the integers stand for, float32."""
        return self.values * self.scale


Weight = Union[np.ndarray, Int8Array]
Weights = Mapping[str, Weight]  # a student's, by name; some of them int8
