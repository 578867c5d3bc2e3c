"""Running a target: so many cases, each on an empty desk and within its time."""

from __future__ import annotations

from collections import Counter
from typing import Any

import hypothesis
from hypothesis import HealthCheck, Phase

from .targets import Target
from .workshop import Hang, Workshop, time_limit

_CASES_PER_BLOCK = 2_000  # hypothesis remembers what it has tried in a block


def fuzz(target: Target, workshop: Workshop, cases: int, seed: int = 0) -> Counter:
    """Try ``cases`` cases and return how many were accepted and how many refused.

    Raises:
        Whatever the program should not have raised, with the smallest case that hypothesis found.
    """
    outcomes: Counter = Counter()
    for start in range(0, cases, _CASES_PER_BLOCK):
        outcomes += _block(target, workshop, min(_CASES_PER_BLOCK, cases - start), seed + start)
    return outcomes


def _block(target: Target, workshop: Workshop, cases: int, seed: int) -> Counter:
    outcomes: Counter = Counter()

    @hypothesis.seed(seed)
    @hypothesis.settings(max_examples=cases, database=None, deadline=None, print_blob=False,
                         suppress_health_check=list(HealthCheck), phases=[Phase.generate, Phase.shrink])
    @hypothesis.given(target.cases)
    def each(case: Any) -> None:
        workshop.clear()
        try:
            with time_limit():
                outcomes[target.check(workshop, case)] += 1
        except Hang:
            print(f"hangs: {case!r}")
            raise

    each()
    return outcomes
