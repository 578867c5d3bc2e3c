"""Cached files that tell whether they are still what was written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Mapping

from .files import checksum, write_json

_CHECKSUM = "checksum"
SEAL_FILE = "checksums.json"


def write_sealed_json(path: str | Path, value: Mapping[str, Any]) -> None:
    """Write a JSON object with its checksum, whole or not at all."""
    write_json(path, {**value, _CHECKSUM: checksum(value)})


def read_sealed_json(path: str | Path) -> dict[str, Any]:
    """Return what `write_sealed_json` wrote.

    Raises:
        ValueError: it is not what was written.
        OSError: it can't be read.
    """
    path = Path(path)
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
        expected = value.pop(_CHECKSUM)
    except (ValueError, KeyError, TypeError, AttributeError):
        raise ValueError(f"{path.name} is damaged") from None
    if checksum(value) != expected:
        raise ValueError(f"{path.name} is damaged")
    return value


def seal_folder(folder: Path) -> None:
    """Write the checksums of all files in ``folder`` beside them."""
    write_sealed_json(folder / SEAL_FILE, {file.name: checksum(file) for file in sorted(folder.iterdir())})


def check_folder(folder: Path) -> None:
    """Hold every file of a sealed folder against its checksum.

    Raises:
        ValueError: a file is not what was written.
        OSError: one is missing, or can't be read.
    """
    for name, expected in read_sealed_json(folder / SEAL_FILE).items():
        if checksum(folder / name) != expected:
            raise ValueError(f"{name} is damaged")
