"""An embedding of a byte for several units: each byte chooses among 256 vectors (product quantization)."""

from __future__ import annotations

import numpy as np

from ..progress import progress_bar
from ..student.graph import CODES

_PASSES = 20  # of k-means
_ROWS_AT_ONCE = 8192
_SEED = 0


def find_vectors(table: np.ndarray, units_per_byte: int, row_weights: np.ndarray) -> np.ndarray:
    """Cut the units into groups of ``units_per_byte`` and find `CODES` vectors for each that stand for all rows' parts.

    Source: Jegou et al. 2011, Product Quantization for Nearest Neighbor Search; the vectors are found by k-means with
    weights. The same table gives the same codes on one machine; no random state of others is touched.

    Args:
        table: float32 ``[rows, units]``.
        row_weights: how much a row's squared error counts, above 0, ``[rows]``.

    Returns:
        vectors, float32 ``[groups, CODES, units_per_byte]``; units that the last group has too many are 0.
    """
    parts, rng = _parts(table, units_per_byte), np.random.default_rng(_SEED)
    vectors = np.empty((len(parts), CODES, units_per_byte), np.float32)
    with progress_bar("code embedding", len(parts), "groups of units") as bar:
        for group, part in enumerate(parts):
            vectors[group] = _means(part, row_weights, rng)
            bar.update(1)
    return vectors


def recode(table: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    """Return for each row and group which of ``vectors`` is nearest, uint8 ``[rows, groups]``; see `find_vectors`."""
    return np.stack(list(map(_nearest, _parts(table, vectors.shape[2]), vectors)), axis=1).astype(np.uint8)


def _parts(table: np.ndarray, size: int) -> np.ndarray:
    """Return the rows' parts of ``size`` units, float32 ``[groups, rows, size]``, the last ones filled up with 0."""
    rows, units = table.shape
    padded = np.pad(table.astype(np.float32), ((0, 0), (0, -units % size)))
    return np.ascontiguousarray(padded.reshape(rows, -1, size).transpose(1, 0, 2))


def _means(points: np.ndarray, weights: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return `CODES` means of ``points``, float32 ``[CODES, units]``; fewer points are their own, the rest is 0."""
    distinct, place = np.unique(points, axis=0, return_inverse=True)
    weights = np.bincount(place.reshape(-1), weights, len(distinct))
    if len(distinct) <= CODES:
        return np.pad(distinct, ((0, CODES - len(distinct)), (0, 0)))
    share = weights / weights.sum()
    means = distinct[rng.choice(len(distinct), CODES, replace=False, p=share)]
    for _ in range(_PASSES):
        nearest = _nearest(distinct, means)
        total = np.bincount(nearest, weights, CODES)
        sums = np.stack([np.bincount(nearest, weights * unit, CODES) for unit in distinct.T], axis=1)
        used = total > 0
        means = np.where(used[:, None], sums / np.where(used, total, 1)[:, None], means).astype(np.float32)
        if not used.all():  # a vector that stands for nothing goes where the error is largest
            error = weights * np.square(distinct - means[nearest]).sum(1)
            means[~used] = distinct[np.argsort(-error, kind="stable")[:(~used).sum()]]
    return means


def _nearest(points: np.ndarray, means: np.ndarray) -> np.ndarray:
    """Return the number of the nearest of ``means`` for each point, int64 ``[points]``."""
    size = np.square(means).sum(1)
    return np.concatenate([(size - 2 * points[first:first + _ROWS_AT_ONCE] @ means.T).argmin(1)
                           for first in range(0, len(points), _ROWS_AT_ONCE)])
