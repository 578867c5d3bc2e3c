"""What follows the import of a host's module: registration with it, at once where it has been imported before."""

from __future__ import annotations

import importlib.abc
import importlib.util
import logging
import sys

from ..stopping import still_end_on_sigterm
from .versions import UnsupportedVersion, check_versions

_log = logging.getLogger(__name__)

# a host's module -> the module here whose register() is called after it ran
_REGISTRARS = {"paddleslim": "register", "paddlenlp.trainer.trainer_compress": "paddlenlp_trainer"}
_RESETS_SIGNALS = "paddlenlp"


def register_when_imported() -> None:
    """Register with each host now if it is imported, else right after its import.

    So importing this package stays light (it loads neither Paddle, PaddleSlim nor PaddleNLP), and all import orders
    work.
    """
    for host in _REGISTRARS:
        module = sys.modules.get(host)
        if module is not None and not getattr(module.__spec__, "_initializing", False):
            _register(host)
    if not any(isinstance(finder, _HostFinder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _HostFinder())


def _register(host: str) -> None:
    try:
        check_versions()
    except UnsupportedVersion as error:  # raised here, it would end a script that may need nothing of ours
        _log.warning("%s; bert_to_bilstm, DataAugmentation and logit_mse are not registered with %s", error, host)
        from .auto_compression import refuse_our_sections
        refuse_our_sections(str(error))
        return
    importlib.import_module(f".{_REGISTRARS[host]}", __package__).register()


def _after_import(module: str) -> None:
    if module == _RESETS_SIGNALS:
        still_end_on_sigterm()
    else:
        _register(module)


class _HostFinder(importlib.abc.MetaPathFinder):
    """Finds the hosts' modules the usual way, and has done what follows after each ran."""

    _searching = False

    def find_spec(self, fullname, path=None, target=None):
        if fullname not in (*_REGISTRARS, _RESETS_SIGNALS) or self._searching:
            return None
        self._searching = True
        try:
            spec = importlib.util.find_spec(fullname)
        finally:
            self._searching = False
        if spec is not None:
            spec.loader = _FollowedLoader(spec.loader)
        return spec


class _FollowedLoader(importlib.abc.Loader):
    """Runs the module as its own loader would, then what follows."""

    def __init__(self, loader):
        self._loader = loader

    def create_module(self, spec):
        return self._loader.create_module(spec)

    def exec_module(self, module):
        module.__spec__.loader = module.__loader__ = self._loader
        self._loader.exec_module(module)
        _after_import(module.__name__)
