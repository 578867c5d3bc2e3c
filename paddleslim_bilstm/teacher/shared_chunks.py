"""Chunks that several ranks make together: who makes which, and how those with a cache of their own get all of them."""

from __future__ import annotations

from pathlib import Path
from typing import Sequence

import numpy as np

from .. import ranks
from ..storage import whole_file


class SharedChunks:
    """Files of which each rank makes some, until every cache holds all. All ranks call the same methods alike.

    Args:
        files: as they are in this rank's cache; the same number of them in all ranks.
        sizes: their sizes in bytes.

    Attributes:
        own: numbers of those that this rank is to make: of the files that no cache holds, each takes what the remainder
            of the number deals out to it, whoever is faster.
    """

    def __init__(self, files: Sequence[Path], sizes: Sequence[int]):
        self._files, self._sizes = files, sizes
        has = [number for number, (file, size) in enumerate(zip(files, sizes))
               if file.is_file() and file.stat().st_size == size] if ranks.keeps_cache() else []
        told = ranks.of_all([ranks.keeper(), has])
        self._keepers = [keeper for keeper, _ in told]
        self._holders: list[set[int]] = [set() for _ in files]
        for keeper, numbers in told:
            for number in numbers:
                self._holders[number].add(keeper)
        self.own = [number for number, holders in enumerate(self._holders)
                    if not holders and number % ranks.count() == ranks.rank()]

    def exchange(self) -> None:
        """Send every cache the files that it lacks, one at a time, once all ranks have made their own."""
        ranks.wait("made")
        for number, (file, size) in enumerate(zip(self._files, self._sizes)):
            holders = self._holders[number] or {self._keepers[number % ranks.count()]}
            if holders.issuperset(self._keepers):
                continue
            source = min(holders)
            content = np.fromfile(file, np.uint8) if ranks.rank() == source else np.zeros(size, np.uint8)
            content = ranks.array_of(source, content)
            if ranks.keeps_cache() and ranks.rank() not in holders:
                with whole_file(file) as partial:
                    content.tofile(partial)
