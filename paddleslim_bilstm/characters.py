"""Characters that are none."""

from __future__ import annotations

import re

from .errors import UserError

_HALF_A_PAIR = re.compile("[\ud800-\udfff]")


def check_surrogates(text: str, where: str) -> None:
    """Refuse half of a surrogate pair (JSON's ``"\\ud800"``), which no tokenizer can read.

    Raises:
        UserError: naming ``where``.
    """
    if not text.isascii() and _HALF_A_PAIR.search(text):
        raise UserError(f"{where}: has half of a surrogate pair (\\ud800 to \\udfff), which is no character; remove it")
