"""Files that appear whole or not at all, and fingerprints of what they hold."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Iterator

import numpy as np

from .errors import UserError


@contextmanager
def whole_file(path: str | Path) -> Iterator[Path]:
    """Yield a path beside ``path`` to write to; on success it is synced and renamed to ``path``.

    If the block raises, what was written is removed and ``path`` stays as it was.
    """
    path = Path(path)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        yield partial
        _sync(partial)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def whole_folder(path: str | Path) -> Iterator[Path]:
    """Yield an empty folder beside ``path`` to fill; on success it takes the place of ``path``."""
    path = Path(path)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        yield partial
        for file in partial.rglob("*"):
            if file.is_file():
                _sync(file)
        shutil.rmtree(path, ignore_errors=True)
        os.replace(partial, path)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def copy_whole(source: str | Path, target: str | Path) -> None:
    """Copy a file's content to ``target``, whole or not at all; the copy is writable even where the source is not."""
    with whole_file(target) as partial:
        shutil.copyfile(source, partial)


def write_json(path: str | Path, value: Any) -> None:
    """Write ``value`` as indented UTF-8 JSON, whole or not at all."""
    with whole_file(path) as partial:
        partial.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def fingerprint(*parts: Any) -> str:
    """Return 32 hex digits that change with any part: arrays and files by content, the rest by its JSON."""
    digest = hashlib.blake2b(digest_size=16)
    for part in parts:
        if isinstance(part, np.ndarray):
            digest.update(f"array {part.dtype} {part.shape}".encode())
            digest.update(np.ascontiguousarray(part).data)
        elif isinstance(part, Path):
            digest.update(f"file {part.name} {part.stat().st_size}".encode())
            with open(part, "rb") as file:
                while block := file.read(1 << 20):
                    digest.update(block)
        else:
            digest.update(json.dumps(part, sort_keys=True, default=str).encode())
        digest.update(b"\0")
    return digest.hexdigest()


def make_writable_folder(path: str | Path, setting: str) -> Path:
    """Create ``path`` if needed and check that files can be written there.

    Raises:
        UserError: it can't be created or written; the message names ``setting``.
    """
    path = Path(path)
    try:
        path.mkdir(parents=True, exist_ok=True)
        probe = path / f".probe.{os.getpid()}"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise UserError(f"{setting}: can't write to {path} ({error.strerror}); name a folder that you may write to") \
            from None
    return path


def _sync(path: Path) -> None:
    with open(path, "rb") as file:
        os.fsync(file.fileno())
