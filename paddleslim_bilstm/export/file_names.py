"""What the files of a Paddle inference model are called (no Paddle needed)."""

from __future__ import annotations

from pathlib import Path

NEW_PROGRAM = ".json"  # of Paddle 3's own kind, see `teacher.new_program`


def program_file(prefix: str | Path) -> Path:
    """Return the program of the inference model at ``prefix``: ``.pdmodel``, or Paddle 3's ``.json`` without one."""
    old, new = Path(f"{prefix}.pdmodel"), Path(f"{prefix}{NEW_PROGRAM}")
    return new if new.is_file() and not old.is_file() else old
