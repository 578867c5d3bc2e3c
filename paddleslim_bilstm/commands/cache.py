"""``paddleslim-bilstm cache``: what earlier runs have computed, and how to be rid of it."""

from __future__ import annotations

import argparse
import time
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path

from ..errors import UserError
from ..run import CACHE_KINDS, FRESH, cache_in_use, cache_root
from ..storage import remove

_DAY_S = 86_400


@dataclass(frozen=True)
class Entry:
    """One cached file or folder: its kind, where it is, its size, and the days since it was written."""

    kind: str
    path: Path
    size_bytes: int
    age_days: float


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``cache`` to ``parser``."""
    parser.add_argument("action", choices=("list", "clear"), nargs="?", default="list")
    parser.add_argument("--cache-dir", metavar="FOLDER", help="as in Global.cache_dir; the default folder otherwise")
    parser.add_argument("--older-than", metavar="DAYS", type=_days, default=0.0, help="only what is older than that")


def _days(text: str) -> float:
    with suppress(ValueError):
        if float(text) >= 0:
            return float(text)
    raise argparse.ArgumentTypeError(f"{text} isn't a number of days, 0 or more")


def run(arguments: argparse.Namespace) -> int:
    """List the entries, or remove them; say how much that is.

    Raises:
        UserError: an entry can't be removed, or a run is using them.
    """
    root = cache_root(arguments.cache_dir)
    with cache_in_use(root, to_clear=True) if arguments.action == "clear" else nullcontext():
        return _list_or_clear(root, arguments)


def _list_or_clear(root: Path, arguments: argparse.Namespace) -> int:
    entries = [entry for entry in cached(root) if entry.age_days >= arguments.older_than]
    for entry in entries:
        if arguments.action == "clear":
            remove(entry.path)
        else:
            print(f"{entry.size_bytes / 1e6:10.1f} MB  {entry.age_days:6.1f} days  {entry.kind}/{entry.path.name}")
    left = [entry for entry in entries if arguments.action == "clear" and entry.path.exists()]
    entries = [entry for entry in entries if entry not in left]
    total = sum(entry.size_bytes for entry in entries)
    done = "removed" if arguments.action == "clear" else "cached"
    print(f"{done}: {len(entries)} entries, {total / 1e6:.1f} MB in {root}")
    if left:
        raise UserError(f"{left[0].path}: can't be removed, nor can {len(left) - 1} others; whoever wrote them can")
    return 0


def cached(root: Path) -> list[Entry]:
    """Return the entries below ``root``, by kind and age."""
    entries = []
    for kind in (*CACHE_KINDS, FRESH):
        for path in (root / kind).iterdir() if (root / kind).is_dir() else ():
            with suppress(FileNotFoundError):  # a run that is at work has taken it away
                files = [file for file in (path, *path.rglob("*")) if file.is_file()]
                age_days = (time.time() - path.stat().st_mtime) / _DAY_S
                entries.append(Entry(kind, path, sum(file.stat().st_size for file in files), age_days))
    return sorted(entries, key=lambda entry: (entry.kind, entry.age_days))
