"""Types of hook parameters that say which values are good, for one-line errors before any work."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Callable, Literal, Sequence, get_args, get_origin


@dataclass(frozen=True)
class Check:
    """A condition on a parameter, for ``typing.Annotated``.

    Example:
        >>> Copies = Annotated[int, Check(lambda n: type(n) is int and n > 0, "an integer above 0")]
    """

    accepts: Callable[[Any], bool]
    expected: str


def _is_probability(value: Any) -> bool:
    return type(value) in (int, float) and 0 <= value <= 1


def _is_length_range(value: Any) -> bool:
    return (isinstance(value, (list, tuple)) and len(value) == 2 and all(type(end) is int for end in value)
            and 1 <= value[0] <= value[1])


Probability = Annotated[float, Check(_is_probability, "a number from 0 to 1")]
LengthRange = Annotated[Sequence[int],
                        Check(_is_length_range, "[shortest, longest], integers, 1 <= shortest <= longest")]

_PLAIN = {
    float: Check(lambda value: type(value) in (int, float), "a number"),
    int: Check(lambda value: type(value) is int, "an integer"),
    bool: Check(lambda value: type(value) is bool, "true or false"),
    str: Check(lambda value: type(value) is str, "a text"),
}


def check_of(hint: Any) -> Check | None:
    """Return the condition that a type hint stands for, or None where it says nothing that is checked."""
    if get_origin(hint) is Annotated:
        return next((extra for extra in get_args(hint)[1:] if isinstance(extra, Check)), check_of(get_args(hint)[0]))
    if get_origin(hint) is Literal:
        choices = get_args(hint)
        return Check(lambda value: value in choices, " or ".join(map(str, choices)))
    return _PLAIN.get(hint) if isinstance(hint, type) else None
