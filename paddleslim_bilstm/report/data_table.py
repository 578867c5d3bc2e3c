"""What was read, and what was odd about it, as a table."""

from __future__ import annotations

from typing import Any, Mapping

_SETS = ("train", "dev", "unlabeled")
_TITLES = {  # keys of the counts -> what the table calls them
    "truncated": "longer than `max_seq_length`, cut", "empty_skipped": "without text, skipped",
    "one_side_empty": "pairs with one side empty, kept",
    "duplicates": "the same text again, kept", "conflicting_labels": "the same text with another label, kept",
    "without_letters": "only punctuation, symbols or emoji", "long": "over 10,000 characters",
    "byte_order_mark": "byte-order mark, left out", "crlf_lines": "CRLF line ends",
}


def data_table(data: Mapping[str, Any], transfer_set: Mapping[str, Any]) -> str:
    """Return Markdown: one column for each set of rows; what was looked for and not found is only listed.

    Args:
        data: rows by set (``train``), counts by set (``train_duplicates``, ``truncated_train``), other counts.
        transfer_set: counts.
    """
    sets = [name for name in _SETS if data.get(name)]
    table = [_line("rows", [data[name] for name in sets])]
    used, absent = {*_SETS, *(f"{name}_rows" for name in _SETS)}, []
    for key, title in _TITLES.items():
        keys = [next((one for one in (f"{name}_{key}", f"{key}_{name}") if one in data), None) for name in sets]
        counts = [data.get(one) for one in keys]
        if any(counts):
            table.append(_line(title, counts))
        elif any(keys):
            absent.append(title.partition(", ")[0])
        used.update(f"{name}_{key}" for name in _SETS)
        used.update(f"{key}_{name}" for name in _SETS)
    others = [_line(name.replace("_", " "), [value]) for name, value in data.items() if name not in used]
    others += [_line(f"transfer set: {name}", [value]) for name, value in transfer_set.items()]
    parts = ["\n".join([f"| | {' | '.join(sets)} |", f"|---|{'---:|' * len(sets)}", *table])] if sets else []
    if absent:
        parts.append(f"Looked for and not found: {'; '.join(absent)}.")
    if others:
        parts.append("\n".join(["| | |", "|---|---:|", *others]))
    return "\n\n".join(parts)


def _line(title: str, counts: list[Any]) -> str:
    return f"| {title} | {' | '.join(map(_count, counts))} |"


def _count(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)
