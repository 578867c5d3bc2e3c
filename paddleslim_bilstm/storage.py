"""Files that appear whole or not at all, checksums, sealed caches, and room on the disk."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import secrets
import shutil
import socket
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Iterator, Mapping, Sequence

import numpy as np

from .errors import UserError


@contextmanager
def whole_file(path: str | Path) -> Iterator[Path]:
    """Yield a path beside ``path`` to write to; on success it is synced and renamed to ``path``.

    If the block raises, what was written is removed and ``path`` stays as it was.
    """
    path = Path(path)
    partial = _partial(path)
    try:
        yield partial
        _sync(partial)
        os.replace(partial, path)
        sync_folder(path.parent)
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def whole_folder(path: str | Path) -> Iterator[Path]:
    """Yield an empty folder beside ``path`` to fill; on success it is synced and takes the place of ``path``."""
    path = Path(path)
    partial = _partial(path)
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        yield partial
        for file in partial.rglob("*"):
            if file.is_file():
                _sync(file)
        replace_folder(partial, path)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def replace_folder(new: Path, path: Path) -> None:
    """Rename the folder ``new`` to ``path``; what was there, of this process or another, is removed."""
    aside = _partial(path.with_name(f"{path.name}.old"))
    while True:
        shutil.rmtree(aside, ignore_errors=True)
        with suppress(FileNotFoundError):
            os.replace(path, aside)
        try:
            os.replace(new, path)
            break
        except OSError as error:  # another process has put its own there since
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
    sync_folder(path.parent)
    shutil.rmtree(aside, ignore_errors=True)


def remove_leftovers(folder: Path) -> None:
    """Remove what killed processes of this machine have left half-written below ``folder``, and old leftovers of any.

    A process is known by its machine, its namespace of process numbers (containers may share a machine's name), its
    number, and a token of its own, as numbers come again.
    """
    own = re.compile(rf"\.{re.escape(_MACHINE)}-(\d+)-([0-9a-f]+)\.partial$")
    found = [Path(place, name) for place, folders, files in os.walk(folder) for name in (*folders, *files)
             if name.startswith(".") and name.endswith(".partial")]  # walks on where another run takes a folder away
    for partial in found:
        owner = own.search(partial.name)
        with suppress(OSError):  # another user's
            if owner:
                number = int(owner[1])
                dead = owner[2] != _token() if number == os.getpid() else not _is_running(number)
            else:
                dead = time.time() - partial.stat().st_mtime > _OLD_S
            if dead:
                remove(partial)


def remove(path: Path) -> None:
    """Remove a file or a folder, if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def sync_folder(path: Path) -> None:
    """Make renames in ``path`` last through a power cut; Windows and some shared disks have no such call."""
    if os.name != "nt":
        folder = os.open(path, os.O_RDONLY)
        try:
            os.fsync(folder)
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.EBADF, errno.ENOTSUP):
                raise
        finally:
            os.close(folder)


def copy_whole(source: str | Path, target: str | Path) -> None:
    """Copy a file's content to ``target``, whole or not at all; the copy is writable even where the source is not."""
    with whole_file(target) as partial:
        shutil.copyfile(source, partial)


_SAFE_TENSORS = {"float64": "F64", "float32": "F32", "float16": "F16", "int64": "I64", "int32": "I32", "int16": "I16",
                 "int8": "I8", "uint8": "U8", "bool": "BOOL"}


def write_arrays(path: str | Path, arrays: Mapping[str, np.ndarray], facts: Mapping[str, str]) -> None:
    """Write arrays by name and texts about them as safetensors, array by array, with errors of the disk as they are.

    The library's own ``save_file`` turns these into errors of its own, leaves a file of its own where it is killed, and
    lets nobody else read what it writes.
    """
    header, place = {"__metadata__": dict(facts)}, 0
    arrays = {name: arrays[name] for name in sorted(arrays)}  # the same content is the same file
    for name, array in arrays.items():
        header[name] = {"dtype": _SAFE_TENSORS[array.dtype.name], "shape": array.shape,
                        "data_offsets": [place, place + array.nbytes]}
        place += array.nbytes
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for array in arrays.values():
            file.write(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)


def write_json(path: str | Path, value: Any) -> None:
    """Write ``value`` as indented UTF-8 JSON, whole or not at all."""
    with whole_file(path) as partial:
        partial.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def read_json(path: str | Path, remedy: str) -> dict[str, Any]:
    """Return the JSON object in a file.

    Raises:
        UserError: it can't be read or holds anything else; the message ends with ``remedy``.
    """
    try:
        value = json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{path}: can't be read ({error.strerror}); {remedy}") from None
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: not valid JSON ({error}); {remedy}") from None
    if not isinstance(value, dict):
        raise UserError(f"{path}: holds a {type(value).__name__} where an object must be; {remedy}")
    return value


def checksum(*parts: Any) -> str:
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
        probe.unlink(missing_ok=True)  # another machine's process may have the same number
    except OSError as error:
        raise UserError(f"{setting}: can't write to {path} ({error.strerror}); name a folder that you may write to") \
            from None
    return path


def _partial(path: Path) -> Path:
    return path.with_name(f".{path.name}.{_MACHINE}-{os.getpid()}-{_token()}.partial")


@lru_cache(maxsize=None)
def _token_of(process: int) -> str:
    return secrets.token_hex(4)


def _token() -> str:
    """Return what tells this process from one of the same number; a fork's is another."""
    return _token_of(os.getpid())


def _namespace() -> str:
    try:
        return str(os.stat("/proc/self/ns/pid").st_ino)
    except OSError:
        return "0"


_MACHINE = f"{socket.gethostname()}-{_namespace()}"
_OLD_S = 7 * 24 * 3600  # of what processes elsewhere have left, whose end can't be seen


def _is_running(process: int) -> bool:
    if os.name == "nt":  # there, signal 0 would end the process
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # another user's
        pass
    return True


def _sync(path: Path) -> None:
    with open(path, "rb") as file:
        os.fsync(file.fileno())


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


_FULL = (errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", errno.ENOSPC))
_FORBIDDEN = (errno.EACCES, errno.EPERM, errno.EROFS)
_FULL_BYTES = 1 << 20  # with less than that left, an error of a library that says nothing of the disk is the disk's
_GOES_ON = "then give the same command again: it goes on where it stopped"


@dataclass(frozen=True)
class Need:
    """Room that work will take: how much, in which folder, and the setting that names the folder."""

    folder: Path
    size_bytes: int
    setting: str


def check_room(work: str, needs: Sequence[Need]) -> None:
    """Check that every folder's disk has room for what is needed there; folders on one disk share it.

    Raises:
        UserError: one has not; the message says what is needed, what is there, and where.
    """
    disks: dict[int, list[Need]] = {}
    for need in needs:
        disks.setdefault(os.stat(need.folder).st_dev, []).append(need)
    for together in disks.values():
        needed, free = sum(need.size_bytes for need in together), _free_bytes(together[0].folder)
        if needed > free:
            folders = " and ".join(str(need.folder) for need in together)
            settings = " or ".join(need.setting for need in together)
            raise UserError(f"{work} needs about {_size(needed)} in {folders}, but {_size(free)} are free; make room "
                            f"(`paddleslim-bilstm cache` lists what earlier runs have left) or name another folder as "
                            f"{settings}, {_GOES_ON}")


def is_write_error(error: BaseException) -> bool:
    """Return whether ``error`` says that the disk is full or that writing is forbidden."""
    return isinstance(error, OSError) and error.errno in (*_FULL, *_FORBIDDEN)


@contextmanager
def explained_write_errors(*folders: Path) -> Iterator[None]:
    """Turn a full disk, or a folder that may no longer be written, into a `UserError`, wherever it shows.

    Args:
        folders: where the block writes; those on a full disk are named.
    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        number = error.errno if isinstance(error, OSError) else None
        tightest = min(folders, key=_free_bytes)
        free = _free_bytes(tightest)
        if number in _FULL or free < _FULL_BYTES:
            what = f"{tightest}: no room is left on this disk ({_size(free)} free)"
            if free >= _FULL_BYTES:  # it is another, or a quota
                place = getattr(error, "filename", None) or tightest
                what = f"{place}: no room is left on this disk, or for this user"
            raise UserError(f"{what}; make some, {_GOES_ON}") from error
        if number in _FORBIDDEN:
            place = error.filename or " or ".join(map(str, folders))
            raise UserError(f"{place}: {error.strerror}; restore access, {_GOES_ON}") from error
        raise


def _free_bytes(folder: Path) -> int:
    return shutil.disk_usage(folder).free


def _size(count: int) -> str:
    """Return bytes for people: ``1_500_000 -> 1.5 MB``."""
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.1f} MB"
