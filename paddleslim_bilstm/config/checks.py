"""Checks of single settings: each takes a value as YAML gives it and returns it converted, or raises ValueError.

The message of the ValueError says what the value must be ("must be a whole number of at least 1"); whoever
reads the configuration adds the file, the line, the key and the value.
"""

from __future__ import annotations

import difflib
import math
import os
import re
from typing import Any, Callable, Iterable, Mapping

Check = Callable[[Any], Any]

# YAML 1.1 takes 1e-3 for text (it wants 1.0e-3); everybody means the number.
EXPONENT_NUMBER = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)[eE][-+]?\d+$")


def integer(low: int, high: int | None = None) -> Check:
    """Return a check for whole numbers from ``low`` to ``high``, both included."""
    bounds = f"of at least {low}" if high is None else f"from {low} to {high}"

    def check(value: Any) -> int:
        value = as_number(value)
        if isinstance(value, float) and value.is_integer():  # 1e5
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int) or value < low or (high is not None and value > high):
            raise ValueError(f"must be a whole number {bounds}")
        return value
    return check


def number(low: float | None = None, high: float | None = None, *, above: bool = False, below: bool = False) -> Check:
    """Return a check for finite numbers from ``low`` to ``high``; ``above``, ``below`` leave the bound itself out."""
    bounds = [("above " if above else "from ") + f"{low:g}"] if low is not None else []
    bounds += [("below " if below else "up to ") + f"{high:g}"] if high is not None else []
    wanted = " ".join(["must be a number", *bounds])

    def check(value: Any) -> float:
        value = as_number(value)
        try:
            result = float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else math.nan
        except OverflowError:
            result = math.inf
        if (not math.isfinite(result) or (low is not None and (result < low or (above and result == low)))
                or (high is not None and (result > high or (below and result == high)))):
            raise ValueError(wanted)
        return result
    return check


def choice(*options: str) -> Check:
    """Return a check for one of the names ``options``."""
    def check(value: Any) -> str:
        if value not in options:
            raise ValueError(f"must be one of {', '.join(options)}")
        return value
    return check


def flag(value: Any) -> bool:
    """Check for true or false."""
    if not isinstance(value, bool):
        raise ValueError("must be true or false")
    return value


def text(value: Any) -> str:
    """Check for text that is not empty."""
    if isinstance(value, (bool, int, float)):
        raise ValueError("must be text in quotes")
    if not isinstance(value, str) or not value.strip() or "\0" in value:
        raise ValueError("must be text")
    return value


def path(value: Any) -> str:
    """Check for the path of a file or folder; a leading ``~`` becomes the home folder."""
    return os.path.expanduser(text(os.fspath(value) if isinstance(value, os.PathLike) else value))


def names(value: Any) -> tuple[str, ...]:
    """Check for a name or a list of names, returned as a tuple."""
    value = [value] if isinstance(value, str) else value
    if not isinstance(value, (list, tuple)) or not value:
        raise ValueError("must be a name or a list of names")
    return tuple(text(name) for name in value)


def text_column(value: Any) -> str | tuple[str, str]:
    """Check for the name of a column, or for two, ``[sentence1, sentence2]``, which are returned as a tuple."""
    if not isinstance(value, (list, tuple)):
        return text(value)
    if len(value) != 2 or value[0] == value[1]:
        raise ValueError("must be a column, or the two columns of sentence pairs, [FIRST, SECOND]")
    return text(value[0]), text(value[1])


def mapping(value: Any) -> dict[str, Any]:
    """Check for free keys and values; ``1e-3`` inside becomes a number."""
    if not isinstance(value, Mapping):
        raise ValueError("must be a mapping, {key: value, ...}")
    return plain(value)


def typed(value: Any) -> dict[str, Any]:
    """Check for a class of Paddle by name with its arguments: ``{type: Adam, beta1: 0.9}``."""
    if not isinstance(value, Mapping) or not isinstance(value.get("type"), str):
        raise ValueError("must be a mapping with the name of a class, {type: NAME, ...}")
    return plain(value)


def optional(check: Check) -> Check:
    """Return ``check``, which lets ``None`` through."""
    return lambda value: None if value is None else check(value)


def as_number(value: Any) -> Any:
    """Return text such as ``1e-3`` as a float and everything else as it is."""
    return float(value) if isinstance(value, str) and EXPONENT_NUMBER.match(value) else value


def plain(value: Any) -> Any:
    """Return ``value`` rebuilt from dicts with text keys, lists and single values, exponent numbers as floats.

    A single value is text, a number, true, false or nothing: what JSON and so the report can hold.
    """
    if isinstance(value, Mapping):
        wrong = next((key for key in value if not isinstance(key, str)), None)
        if wrong is not None:
            raise ValueError(f"has the key {wrong!r}, which must be text")
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if value is not None and not isinstance(value, (str, bool, int, float)):
        raise ValueError(f"holds the {type(value).__name__} {value!r}; put it in quotes if it is text")
    return as_number(value)


def nearest(name: str, valid: Iterable[str]) -> str:
    """Return "; did you mean X?" for the valid name closest to ``name``, or "; valid: ..." when none is close.

    >>> nearest("alhpa", ["alpha", "loss"])
    '; did you mean alpha?'
    """
    valid = list(valid)
    by_lower = {candidate.lower(): candidate for candidate in valid}
    close = difflib.get_close_matches(name.lower(), by_lower, n=1, cutoff=0.6)
    return f"; did you mean {by_lower[close[0]]}?" if close else f"; valid: {', '.join(valid)}"
