"""Augmentation of sentence pairs: one side, the other, or both."""

from __future__ import annotations

import numpy as np

from ..tokens import Sentences

_FIRST, _SECOND = 0, 1  # the sides that change in turn: first, second, both


def change_in_turn(sides: Sentences, changed: Sentences, turn: int) -> Sentences:
    """Return ``n`` pairs in which the first side, the second, or both are the changed ones, in turn.

    Source: Tang et al. 2019 (arXiv 1903.12136), section 3.3. Pair ``i`` changes its first side where ``turn + i`` is a
    multiple of 3, its second where it is one more, else both; so ``turn`` counts the rounds, and within a round, too,
    all three are equally frequent.

    Args:
        sides, changed: the sides of the pairs, first and second in turn, ``2n`` sentences each.
    """
    number = np.arange(len(sides))
    mode = (turn + number // 2) % 3
    fixed = mode == np.where(number % 2, _FIRST, _SECOND)
    return Sentences.from_sides(Sentences.concatenate([sides, changed]).take(number + np.where(fixed, 0, len(sides))))
