"""Texts that are read as they are but that somebody should know of."""

from __future__ import annotations

import re
from typing import Iterable

LONG_CHARACTERS = 10_000

_LETTER = re.compile(r"[^\W_]")


def count_oddities(texts: Iterable[str]) -> dict[str, int]:
    """Return how many texts have no letter or digit, and how many are very long.

    >>> count_oddities(["fine", "?!", "👍", "שלום"])
    {'without_letters': 2, 'long': 0}
    """
    without_letters = long = 0
    for text in texts:
        without_letters += _LETTER.search(text) is None
        long += len(text) > LONG_CHARACTERS
    return {"without_letters": without_letters, "long": long}
