"""A set of 64-bit hashes in one flat array, filled and asked in bulk."""

from __future__ import annotations

import numpy as np

_FULLEST = 0.6  # share of used slots above which the table doubles
_BLOCK = 1 << 20  # slots moved at a time


class SeenHashes:
    """An open-addressing hash table of uint64 values; 8 bytes a slot, 14 to 27 bytes a value once it has grown."""

    def __init__(self) -> None:
        self._slots = np.zeros(1 << 16, np.uint64)  # 0 marks a free slot
        self._used = 0

    def __len__(self) -> int:
        return self._used

    def add(self, hashes: np.ndarray) -> np.ndarray:
        """Add ``hashes`` (uint64 ``[n]``); return the indices, rising, of those that are new, the first of equals."""
        hashes = np.where(hashes == 0, np.uint64(1), hashes)
        unseen = np.flatnonzero(~self._contains(hashes))
        values, first = np.unique(hashes[unseen], return_index=True)
        while self._used + len(values) > _FULLEST * len(self._slots):
            old = self._slots
            self._slots = np.zeros(2 * len(old), np.uint64)
            for block in np.split(old, range(_BLOCK, len(old), _BLOCK)):
                self._insert(block[block != 0])
        self._insert(values)
        self._used += len(values)
        return np.sort(unseen[first])

    def _contains(self, hashes: np.ndarray) -> np.ndarray:
        found = np.zeros(len(hashes), bool)
        pending, places = np.arange(len(hashes)), self._places(hashes)
        while len(pending):
            values = self._slots[places]
            equal = values == hashes[pending]
            found[pending[equal]] = True
            onward = ~equal & (values != 0)
            pending, places = pending[onward], self._next(places[onward])
        return found

    def _insert(self, hashes: np.ndarray) -> None:
        """Insert distinct values that are not in the table."""
        places = self._places(hashes)
        while len(hashes):
            free = self._slots[places] == 0
            self._slots[places[free]] = hashes[free]  # of several for one slot one wins, the others go on
            lost = self._slots[places] != hashes
            hashes, places = hashes[lost], self._next(places[lost])

    def _places(self, hashes: np.ndarray) -> np.ndarray:
        return (hashes & np.uint64(len(self._slots) - 1)).astype(np.int64)

    def _next(self, places: np.ndarray) -> np.ndarray:
        return (places + 1) & (len(self._slots) - 1)
