"""Which columns hold the text, or both texts of a pair, and the label."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Sequence, Tuple, Union

from ..errors import UserError, nearest, short

TEXT_COLUMNS = ("sentence", "text_a", "text", "content", "review", "query", "question")
PAIR_COLUMNS = (("sentence1", "sentence2"), ("sentence_1", "sentence_2"), ("text_a", "text_b"), ("text1", "text2"),
                ("question1", "question2"), ("question", "sentence"), ("premise", "hypothesis"), ("query", "title"),
                ("#1 string", "#2 string"))
_SECOND_COLUMNS = ("sentence2", "sentence_2", "text_b", "text2", "question2", "hypothesis")  # never a single text's
LABEL_COLUMNS = ("label", "labels", "category", "class", "target", "targets", "is_duplicate", "gold_label", "quality")

TextColumn = Union[str, Tuple[str, str]]  # one column, or the two of pairs


@dataclass(frozen=True)
class Columns:
    """Positions of the text columns, one or the two of pairs, and of the label's; None when labels are not read."""

    texts: tuple[int, ...]
    label: int | None


def find_columns(names: Sequence[str], where: str, text_column: TextColumn | None, label_column: str | None,
                 with_labels: bool) -> Columns:
    """Return which of the named columns hold text and label.

    Without ``text_column`` the one pair of ``PAIR_COLUMNS``, or else the first of ``TEXT_COLUMNS`` that is there, in
    capitals or not; likewise the label.

    Raises:
        UserError: no such column, or columns that could be a pair as well as not.
    """
    if text_column is None:
        text_column = known_pair(names, where)
    wanted = text_column if isinstance(text_column, tuple) else (text_column,)
    texts = tuple(_find(names, where, name, TEXT_COLUMNS, "text") for name in wanted)
    return Columns(texts, _find(names, where, label_column, LABEL_COLUMNS, "label") if with_labels else None)


def known_pair(names: Sequence[str], where: str, setting: str = "Global.text_column") -> tuple[str, str] | None:
    """Return the two columns that usual pair data sets have, as they are written here; None if there are none.

    Raises:
        UserError: there are two such pairs, or half of one beside a single text.
    """
    written = {name.strip().lower(): name.strip() for name in names}
    found = [pair for pair in PAIR_COLUMNS if written.keys() >= set(pair)]
    sides = {name for pair in found for name in pair}
    single = [name for name in TEXT_COLUMNS if name in written and name not in sides]
    lone = [name for name in _SECOND_COLUMNS if name in written and name not in sides]
    if len(found) > 1 or (found and single) or (single and lone):
        texts = [written[name] for name in written if name in {*sides, *single, *lone}]
        raise UserError(f"{where}: the columns {', '.join(map(short, texts))} could be single sentences or pairs; name "
                        f"the one column, or the two of pairs, with {setting}")
    return tuple(written[name] for name in found[0]) if found else None


def _find(names: Sequence[str], where: str, wanted: str | None, defaults: Sequence[str], kind: str) -> int:
    names = [name.strip() for name in names]
    if wanted is None:
        names = [name.lower() for name in names]
        wanted = next((name for name in defaults if name in names), None)
        if wanted is None:
            raise UserError(f"{where}: no {kind} column is known among {', '.join(map(short, names))}; name it with "
                            f"Global.{kind}_column (a first line must name the columns, such as {defaults[0]})")
    if wanted not in names:
        hint = nearest(wanted, map(short, names))
        raise UserError(f"{where}: Global.{kind}_column is {wanted}, which is not among the columns{hint}")
    if names.count(wanted) > 1:
        raise UserError(f"{where}: the column {wanted} is there twice; rename one")
    return names.index(wanted)
