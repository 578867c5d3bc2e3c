"""Room on the disk: asked for before long work starts, and missed in one line when it runs out all the same."""

from __future__ import annotations

import errno
import os
import shutil
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Iterator, Sequence

from .errors import UserError

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
        if number in _FULL or _free_bytes(tightest) < _FULL_BYTES:
            raise UserError(f"{tightest}: no room is left on this disk ({_size(_free_bytes(tightest))} free); make "
                            f"some, {_GOES_ON}") from error
        if number in _FORBIDDEN:
            place = error.filename or " or ".join(map(str, folders))
            raise UserError(f"{place}: {error.strerror}; restore access, {_GOES_ON}") from error
        raise


def _free_bytes(folder: Path) -> int:
    return shutil.disk_usage(folder).free


def _size(count: int) -> str:
    """Return bytes for people: ``1_500_000 -> 1.5 MB``."""
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.1f} MB"
