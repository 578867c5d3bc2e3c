"""The one error that users see."""

from __future__ import annotations

import difflib
import traceback
from typing import Any, Callable, Iterable


class UserError(Exception):
    """Something the user can mend: bad input, a wrong setting, a missing file.

    The message is one line that names the file, line, key or value and says what to change. Whatever line ends and
    control characters it quotes from a hostile file are made harmless.
    The command line prints it without a traceback and exits with code 2.
    """

    def __init__(self, message: str):
        super().__init__(in_one_line(message))


def in_one_line(message: str) -> str:
    r"""Return ``message`` in one line that a terminal shows as it is: ``"two\nlines \x1b" -> "two lines \\x1b"``."""
    line = " ".join(message.splitlines())
    return line if line.isprintable() else "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode() for character in line)


def reason_in_short(error: BaseException) -> str:
    """Return an error of a library in a few words: ``"ValueError: no such file"``."""
    return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}".rstrip(": ")


def line_of(error: BaseException, function: Callable[..., Any]) -> str:
    """Return "FILE:LINE: " of what a user's ``function`` did last before ``error``."""
    file = getattr(getattr(function, "__code__", None), "co_filename", None)
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == file]
    return f"{file}:{lines[-1]}: " if lines else ""


def nearest(name: str, valid: Iterable[str], cutoff: float = 0.6) -> str:
    """Return "; did you mean X?" for the valid name closest to ``name``, or "; valid: ..." when none is close.

    How close, ``cutoff`` says: 1 is the name itself.

    >>> nearest("alhpa", ["alpha", "loss"])
    '; did you mean alpha?'
    """
    valid = list(valid)
    by_lower = {candidate.lower(): candidate for candidate in valid}
    close = difflib.get_close_matches(name.lower(), by_lower, n=1, cutoff=cutoff)
    return f"; did you mean {by_lower[close[0]]}?" if close else f"; valid: {', '.join(valid)}"


def short(text: str) -> str:
    """Return the beginning of a long text, for messages."""
    return text if len(text) <= 40 else text[:37] + "..."
