"""A tiny review task that the tiny teachers' vocabulary can spell."""

from __future__ import annotations

from pathlib import Path

import numpy as np

_GOOD = ["good", "great", "funny", "fresh", "smart", "charming", "lovely", "brilliant"]
_BAD = ["bad", "awful", "boring", "dull", "weak", "stupid", "messy", "horrible"]
_NOUNS = ["film", "movie", "story", "plot", "acting", "ending", "hotel", "food", "service"]


def make_reviews(count: int, seed: int) -> list[tuple[str, int]]:
    """Return distinct ``(text, label)`` rows, label 1 for good, such as ``("the food is not very dull .", 1)``."""
    rng = np.random.default_rng(seed)
    rows: dict[str, int] = {}
    while len(rows) < count:
        label = int(rng.integers(2))
        negated = rng.random() < 0.3
        word = rng.choice(_GOOD if label != negated else _BAD)
        first, second = rng.choice(_NOUNS, 2, replace=False)
        between = rng.choice(["and the", "of this", "with a"])
        subject = f"{rng.choice(['the', 'this', 'that'])} {first} {between} {second}"
        judgement = f"{'not ' if negated else ''}{rng.choice(['', 'very ', 'really '])}{word}"
        text = f"{subject} {rng.choice(['is', 'was'])} {judgement} ."
        rows[text] = label
    return list(rows.items())


def write_reviews(folder: Path, train: int = 300, dev: int = 80) -> Path:
    """Write ``train.tsv`` and ``dev.tsv`` with columns sentence and label into ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = make_reviews(train + dev, seed=0)
    for name, part in (("train.tsv", rows[:train]), ("dev.tsv", rows[train:])):
        lines = ["sentence\tlabel", *(f"{text}\t{label}" for text, label in part)]
        (folder / name).write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder
