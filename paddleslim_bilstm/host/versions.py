"""The versions of PaddleSlim and Paddle whose internals this room knows, and what comes before Paddle."""

from __future__ import annotations

import importlib
import logging
import re
import subprocess
import sys
from functools import cache
from importlib import metadata

from ..cpu import apply_cpu_settings
from ..errors import UserError, reason_in_short

PADDLESLIM_VERSIONS = ("2.6.0",)
PADDLE_SERIES = ("2.6", "3.1", "3.3")  # that were tried; docs/versions.md says what of each
_PADDLES = ("paddlepaddle", "paddlepaddle-gpu")
_log = logging.getLogger(__name__)


class UnsupportedVersion(ImportError):
    """The installed PaddleSlim or Paddle is not one that the package works with."""


def check_versions(installed: dict[str, str] | None = None) -> None:
    """Refuse another PaddleSlim than those known, and a Paddle that is older.

    A Paddle of another series is not refused here: `check_other_paddle` tries it. What is not installed is not refused:
    a machine that only predicts has neither.

    Args:
        installed: versions by package name; those of this environment by default.

    Raises:
        UnsupportedVersion: with one line that says which versions work.
    """
    installed = _installed() if installed is None else installed
    slim = installed.get("paddleslim")
    if slim is not None and slim not in PADDLESLIM_VERSIONS:
        raise _refusal(f"paddleslim {slim} is installed")
    for name in _PADDLES:
        version = installed.get(name)
        if version is not None and _series(version) < _series(PADDLE_SERIES[0]):
            raise _refusal(f"{name} {version} is installed")


def check_other_paddle(installed: dict[str, str] | None = None) -> None:
    """Try a Paddle that nobody here has, once: with a warning if it can do our work, or else it is refused.

    Args:
        installed: as for `check_versions`.

    Raises:
        UnsupportedVersion: it can't build, train, export or run a tiny student.
    """
    installed = _installed() if installed is None else installed
    for name in _PADDLES:
        version = installed.get(name)
        if version is None or _series(version) in map(_series, PADDLE_SERIES) or version in _tried:
            continue
        from .self_check import try_student
        try:
            try_student()
        except Exception as error:  # whatever a Paddle that nobody here knows raises
            raise _refusal(f"{name} {version} is installed, which can't train and export a student "
                           f"({reason_in_short(error)})") from error
        _tried.add(version)
        _log.warning("%s %s is none that paddleslim_bilstm was tried with (%s); a tiny student was trained and "
                     "exported, so it goes on", name, version, ", ".join(PADDLE_SERIES))


_tried: set[str] = set()  # versions that have passed in this process


def _refusal(what: str) -> UnsupportedVersion:
    slim = PADDLESLIM_VERSIONS[-1]
    oldest, newest = PADDLE_SERIES[0], PADDLE_SERIES[-1]
    return UnsupportedVersion(f"{what}, but paddleslim_bilstm works with paddleslim {slim} and paddlepaddle {oldest} "
                              f"to {newest}: pip install 'paddleslim=={slim}' 'paddlepaddle=={newest}.*'")


def _series(version: str) -> tuple[int, ...]:
    """Return the first two numbers: ``"3.3.1" -> (3, 3)``."""
    return tuple(int(number) for number in re.findall(r"\d+", version)[:2])


def _installed() -> dict[str, str]:
    versions = {}
    for name in ("paddleslim", *_PADDLES):
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return versions


def need_paddlenlp(what: str, other: str) -> None:
    """Import PaddleNLP, which few things need, and which isn't always installed.

    Args:
        what: who needs it, the beginning of a message.
        other: what to do without it.

    Raises:
        UserError: it can't be imported.
    """
    try:
        importlib.import_module("paddlenlp")
    except ImportError as error:
        raise UserError(f"{what} needs PaddleNLP, which can't be imported ({error}); pip install "
                        f"\"paddleslim-bilstm[paddlenlp]\" (Python 3.12 at most), or {other}") from None


@cache  # a job begins several times
def check_zlib() -> None:
    """Refuse to work where Paddle was loaded before zlib, if zlib fails by that: so do image files then.

    Paddle 2.6 exports a zlib of its own, which takes the place of what is loaded behind it. Whether it does depends on
    how Python was built; as it ends the process, it is tried in another one.

    Raises:
        UserError: it does, with one line that says what to import first.
    """
    loaded = list(sys.modules)  # in the order in which they were
    if _LIBPADDLE not in loaded or loaded.index("zlib") < loaded.index(_LIBPADDLE):
        return
    if _series(sys.modules["paddle"].__version__) > (2, 6) or not sys.executable:
        return
    if subprocess.run([sys.executable, "-c", _USE_ZLIB], capture_output=True).returncode:
        raise UserError("Paddle was imported before zlib, and brings a zlib of its own, by which Python's and others "
                        "crash (Paddle 2.6); put `import paddleslim_bilstm` or `import zlib` above `import paddle`")


_LIBPADDLE = "paddle.base.libpaddle"
_USE_ZLIB = "import paddle, zlib; zlib.decompress(zlib.compress(bytes(1000)))"


def before_paddle() -> None:
    """Check the versions and apply the CPU settings; doing it again changes nothing.

    Raises:
        UnsupportedVersion: see `check_versions`.
    """
    check_versions()
    apply_cpu_settings()
