"""What follows the imports of Paddle's hosts: registration.

So importing this package stays light (it loads neither Paddle, PaddleSlim nor PaddleNLP), and all import orders work.
"""

from __future__ import annotations

import functools
import importlib.abc
import importlib.util
import logging
import sys

from ..errors import reason_in_short
from ..stopping import still_end_on_sigterm
from . import STRATEGY
from .versions import UnsupportedVersion, check_versions

_log = logging.getLogger(__name__)
_INSTALL = 'pip install "paddleslim-bilstm[compress]"'


def follow_imports() -> None:
    """Register with each host now if it is imported, else right after its import."""
    for module, follow in _FOLLOW.items():
        imported = sys.modules.get(module)
        if imported is not None and not getattr(imported.__spec__, "_initializing", False):
            follow(module)
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())


def _register_with_paddleslim(module: str) -> None:
    if not _is_supported(module):
        return
    try:
        from .register import register
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] in ("paddle", "paddleslim", __name__.partition(".")[0]):
            raise
        return _leave_out(module, f"{error.name} is not installed: {_INSTALL}")
    except Exception as error:  # another version of what we need, or one that is broken; PaddleSlim needs none of it
        return _leave_out(module, f"{reason_in_short(error)}: {_INSTALL}")
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
        _leave_out(module, str(error))
        return False
    return True


def _leave_out(module: str, reason: str) -> None:
    from .refusal import refuse_our_sections
    _log.warning("%s; bert_to_bilstm, DataAugmentation and logit_mse are not registered with %s", reason, module)
    refuse_our_sections(reason)


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
