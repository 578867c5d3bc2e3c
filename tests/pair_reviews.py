"""A tiny pair task that the tiny teachers' vocabulary can spell: do two judgements agree?"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from reviews import make_reviews


def make_pairs(count: int, seed: int) -> list[tuple[tuple[str, str], int]]:
    """Return distinct ``((first, second), label)`` rows, label 1 where both sides praise or both blame."""
    rng = np.random.default_rng(seed)
    reviews = make_reviews(60, seed)
    rows: dict[tuple[str, str], int] = {}
    while len(rows) < count:
        (first, one), (second, other) = (reviews[index] for index in rng.choice(60, 2, replace=False))
        rows[first, second] = int(one == other)
    return list(rows.items())


def write_pairs(path: Path, rows: list[tuple[tuple[str, str], int]]) -> Path:
    """Write rows as TSV with GLUE's column names, or as JSONL."""
    if path.suffix == ".jsonl":
        lines = [json.dumps({"sentence1": a, "sentence2": b, "label": label}) for (a, b), label in rows]
    else:
        lines = ["sentence1\tsentence2\tlabel", *(f"{a}\t{b}\t{label}" for (a, b), label in rows)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path
