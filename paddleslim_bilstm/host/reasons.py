"""What PaddleSlim and Paddle mean by their errors, in a line."""

from __future__ import annotations

import traceback

_LONGEST = 200
_SUMMARY = "Error Message Summary:"  # in Paddle's errors, behind a C++ traceback


def reason_of(error: BaseException) -> str:
    """Return the reason in one line.

    Examples: ``AssertionError("dtype can only be int8")`` -> ``"dtype can only be int8"``; an assertion without a
    message, of which PaddleSlim has many -> ``"AssertionError in _parse_distill_loss"``.
    """
    lines = [line.strip() for line in str(error).rpartition(_SUMMARY)[2].splitlines()]
    text = next((" ".join(line.split()) for line in lines if line.strip("- ")), "")
    if not text:
        frames = traceback.extract_tb(error.__traceback__)
        return type(error).__name__ + (f" in {frames[-1].name}" if frames else "")
    if isinstance(error, (KeyError, UnboundLocalError, IndexError, AttributeError)):
        text = f"{type(error).__name__}: {text}"
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."
