"""Around the imports of Paddle and its hosts: versions and CPU settings before, registration after.

So importing this package stays light (it loads neither Paddle, PaddleSlim nor PaddleNLP), and all import orders work.
"""

from __future__ import annotations

import functools
import importlib.abc
import importlib.util
import logging
import sys
from importlib import metadata

from ..cpu import apply_cpu_settings
from ..stopping import still_end_on_sigterm
from . import STRATEGY

_log = logging.getLogger(__name__)

PADDLESLIM_VERSIONS = ("2.6.0",)
PADDLE_SERIES = "2.6."


class UnsupportedVersion(ImportError):
    """The installed PaddleSlim or Paddle is not one that the package works with."""


def before_paddle() -> None:
    """Check the versions and apply the CPU settings; doing it again changes nothing.

    Raises:
        UnsupportedVersion: see `check_versions`.
    """
    check_versions()
    apply_cpu_settings()


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


def follow_imports() -> None:
    """Register with each host now if it is imported, else right after its import."""
    for module, follow in _FOLLOW.items():
        imported = sys.modules.get(module)
        if imported is not None and not getattr(imported.__spec__, "_initializing", False):
            follow(module)
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())


def _register_with_paddleslim(module: str) -> None:
    if _is_supported(module):
        from .register import register
        register()


def _register_with_paddlenlp(module: str) -> None:
    """Teach the class ``Trainer`` our strategy, in place; every other strategy goes to PaddleNLP untouched."""
    if not _is_supported(module):
        return
    from paddlenlp.trainer.trainer import Trainer

    original = Trainer.compress
    if getattr(original, "knows_bert_to_bilstm", False):
        return

    @functools.wraps(original)
    def compress(self, *args, **kwargs):
        if STRATEGY not in (getattr(self.args, "strategy", None) or ""):
            return original(self, *args, **kwargs)
        from .trainer_job import distil  # the pipeline loads PaddleSlim, so only where it is needed
        return distil(self, *args, **kwargs)

    compress.knows_bert_to_bilstm = True
    Trainer.compress = compress


def _is_supported(module: str) -> bool:
    """Return whether the versions are known; if not, our sections are refused, and a script may need none of them."""
    try:
        check_versions()
    except UnsupportedVersion as error:
        _log.warning("%s; bert_to_bilstm, DataAugmentation and logit_mse are not registered with %s", error, module)
        from .auto_compression import refuse_our_sections
        refuse_our_sections(str(error))
        return False
    return True


# a host's module -> what follows its import, called with its name
_FOLLOW = {"paddleslim": _register_with_paddleslim,
           "paddlenlp.trainer.trainer_compress": _register_with_paddlenlp,
           "paddlenlp": lambda _: still_end_on_sigterm()}  # it has put back what the system does at SIGTERM


class _Finder(importlib.abc.MetaPathFinder):
    """Finds the hosts' modules the usual way, and has done what follows after each ran."""

    _searching = False

    def find_spec(self, fullname, path=None, target=None):
        if fullname not in _FOLLOW or self._searching:
            return None
        self._searching = True
        try:
            spec = importlib.util.find_spec(fullname)
        finally:
            self._searching = False
        if spec is not None:
            spec.loader = _Loader(spec.loader)
        return spec


class _Loader(importlib.abc.Loader):
    """Runs the module as its own loader would, then what follows."""

    def __init__(self, loader):
        self._loader = loader

    def create_module(self, spec):
        return self._loader.create_module(spec)

    def exec_module(self, module):
        module.__spec__.loader = module.__loader__ = self._loader
        self._loader.exec_module(module)
        _FOLLOW[module.__name__](module.__name__)
