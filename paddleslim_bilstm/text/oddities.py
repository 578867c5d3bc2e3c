"""Texts that are read as they are but that somebody should know of."""

from __future__ import annotations

import re
from typing import Iterable

LONG_CHARACTERS = 10_000

_LETTER = re.compile(r"[^\W_]")
_RIGHT_TO_LEFT = re.compile("[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufefc]")  # Hebrew, Arabic and their neighbours
_EMOJI = re.compile("[\u2600-\u27bf\U0001f000-\U0001faff]")


def count_oddities(texts: Iterable[str]) -> dict[str, int]:
    """Return how many texts have no letter or digit, letters written from right to left, emoji, or great length.

    >>> count_oddities(["fine", "?!", "👍", "שלום"])
    {'without_letters': 2, 'right_to_left': 1, 'emoji': 1, 'long': 0}
    """
    without_letters = right_to_left = emoji = long = 0
    for text in texts:
        without_letters += _LETTER.search(text) is None
        long += len(text) > LONG_CHARACTERS
        if not text.isascii():
            right_to_left += _RIGHT_TO_LEFT.search(text) is not None
            emoji += _EMOJI.search(text) is not None
    return {"without_letters": without_letters, "right_to_left": right_to_left, "emoji": emoji, "long": long}
