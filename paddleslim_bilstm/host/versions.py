"""The versions of PaddleSlim and Paddle whose internals this room knows, and what comes before Paddle."""

from __future__ import annotations

from importlib import metadata

from ..cpu import apply_cpu_settings

PADDLESLIM_VERSIONS = ("2.6.0",)
PADDLE_SERIES = ("2.6.", "3.")


class UnsupportedVersion(ImportError):
    """The installed PaddleSlim or Paddle is not one that the package works with."""


def check_versions(installed: dict[str, str] | None = None) -> None:
    """Refuse a PaddleSlim or Paddle that is installed in another version than those known.

    What is not installed is not refused: a machine that only predicts has neither.

    Args:
        installed: versions by package name; those of this environment by default.

    Raises:
        UnsupportedVersion: with one line that says which versions work.
    """
    installed = _installed() if installed is None else installed
    works = f"paddleslim_bilstm works with paddleslim {' or '.join(PADDLESLIM_VERSIONS)} and paddlepaddle " \
            f"{PADDLE_SERIES}x: pip install 'paddleslim=={PADDLESLIM_VERSIONS[-1]}' 'paddlepaddle=={PADDLE_SERIES}2'"
    slim = installed.get("paddleslim")
    if slim is not None and slim not in PADDLESLIM_VERSIONS:
        raise UnsupportedVersion(f"paddleslim {slim} is installed, but {works}")
    for name in ("paddlepaddle", "paddlepaddle-gpu"):
        version = installed.get(name)
        if version is not None and not version.startswith(PADDLE_SERIES):
            raise UnsupportedVersion(f"{name} {version} is installed, but {works}")


def _installed() -> dict[str, str]:
    versions = {}
    for name in ("paddleslim", "paddlepaddle", "paddlepaddle-gpu"):
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return versions


def before_paddle() -> None:
    """Check the versions and apply the CPU settings; doing it again changes nothing.

    Raises:
        UnsupportedVersion: see `check_versions`.
    """
    check_versions()
    apply_cpu_settings()
