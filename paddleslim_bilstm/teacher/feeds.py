"""Which input of somebody's model is for what."""

from __future__ import annotations

from pathlib import Path
from typing import Mapping, NamedTuple, Sequence

from ..errors import UserError
from ..tokens.framing import DTYPES, IDS, MASK, TYPES, Feed

_MOST_TYPES = 16  # rows of a table of token types; ERNIE's tasks are few, too, and positions many


class Input(NamedTuple):
    """An input as a model declares it: its name, its type of numbers, and its shape with -1 for any size."""

    name: str
    dtype: str
    shape: tuple[int, ...]


def read_feeds(model_file: Path, inputs: Sequence[Input], rows: Mapping[str, int],
               remedy: str) -> tuple[tuple[Feed, ...], int | None]:
    """Return what each input of a classifier is for, and the length of every batch where it is fixed.

    Args:
        rows: of the tables in which inputs are looked up, as far as that can be told. The largest one embeds words;
            without it the inputs' names decide.
        remedy: how to export the model, for messages.

    Raises:
        UserError: an input isn't ``[batch, length]`` numbers, or what it is for can't be told.
    """
    width = _width(model_file, inputs, remedy)
    ids = _ids(model_file, [one.name for one in inputs], rows, remedy)
    roles = {one.name: IDS if one.name == ids else _role(model_file, one.name, rows.get(one.name), remedy)
             for one in inputs}
    if len(set(roles.values())) < len(roles):
        raise UserError(f"{model_file}: takes {', '.join(roles)}, of which two seem to be the same "
                        f"({', '.join(roles.values())}); {remedy}")
    return tuple(Feed(one.name, roles[one.name], one.dtype) for one in inputs), width


def _width(model_file: Path, inputs: Sequence[Input], remedy: str) -> int | None:
    """Return the fixed length of the inputs, or None where they may have any."""
    for name, dtype, shape in inputs:
        if dtype not in DTYPES or len(shape) != 2 or shape[0] != -1:
            raise UserError(f"{model_file}: its input {name} is {dtype} {list(shape)}, not int64 [-1, -1] (any batch, "
                            f"any length) or [-1, LENGTH]; {remedy}")
    widths = {one.shape[1] for one in inputs}
    if len(widths) != 1:
        raise UserError(f"{model_file}: its inputs {', '.join(one.name for one in inputs)} have different lengths "
                        f"({', '.join(map(str, sorted(widths)))}); {remedy}")
    width = widths.pop()
    return None if width == -1 else width


def _ids(model_file: Path, names: Sequence[str], rows: Mapping[str, int], remedy: str) -> str:
    """Return the name of the input that takes the token ids."""
    words = {name: count for name, count in rows.items() if count > _MOST_TYPES and "position" not in name}
    if words:
        return max(words, key=words.get)  # far more words than token types
    others = [name for name in names if not any(part in name for part in ("mask", "type", "segment", "position"))]
    named = [name for name in others if "ids" in name] or others
    if len(named) != 1:
        raise UserError(f"{model_file}: takes {', '.join(names) or 'nothing'}, of which none is known to be the token "
                        f"ids; {remedy}")
    return named[0]


def _role(model_file: Path, name: str, rows: int | None, remedy: str) -> str:
    """Return what an input is for that isn't the token ids; ``rows`` of the table in which it is looked up, if any."""
    if "mask" in name or (rows is None and not any(part in name for part in ("type", "segment", "position"))):
        return MASK
    if "type" in name or "segment" in name or (rows or _MOST_TYPES + 1) <= _MOST_TYPES:
        return TYPES
    table = f"is looked up in a table of {rows} rows" if rows else "seems to take positions"
    raise UserError(f"{model_file}: its input {name} {table}, so it is neither token types nor a mask; {remedy}: "
                    "positions follow from the ids")
