"""Registration at the right moment: when PaddleSlim is imported, or at once where it has been."""

from __future__ import annotations

import importlib.abc
import importlib.util
import logging
import sys

from .versions import UnsupportedVersion, check_versions

_log = logging.getLogger(__name__)

_HOST = "paddleslim"


def register_when_imported() -> None:
    """Register with PaddleSlim now if it is imported, else right after its import.

    So importing this package stays light (it loads neither Paddle nor PaddleSlim), and both import orders work.
    """
    host = sys.modules.get(_HOST)
    if host is not None and not getattr(host.__spec__, "_initializing", False):
        _register()
    elif not any(isinstance(finder, _HostFinder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _HostFinder())


def _register() -> None:
    try:
        check_versions()
    except UnsupportedVersion as error:  # raised here, it would end a script that may need nothing of ours
        _log.warning("%s; bert_to_bilstm, DataAugmentation and logit_mse are not registered", error)
        from .auto_compression import refuse_our_sections
        refuse_our_sections(str(error))
        return
    from .register import register
    register()


class _HostFinder(importlib.abc.MetaPathFinder):
    """Finds ``paddleslim`` the usual way, and has it registered with after it ran."""

    _searching = False

    def find_spec(self, fullname, path=None, target=None):
        if fullname != _HOST or self._searching:
            return None
        self._searching = True
        try:
            spec = importlib.util.find_spec(fullname)
        finally:
            self._searching = False
        if spec is not None:
            spec.loader = _RegisteringLoader(spec.loader)
        return spec


class _RegisteringLoader(importlib.abc.Loader):
    """Runs the module as its own loader would, then registers."""

    def __init__(self, loader):
        self._loader = loader

    def create_module(self, spec):
        return self._loader.create_module(spec)

    def exec_module(self, module):
        module.__spec__.loader = module.__loader__ = self._loader
        self._loader.exec_module(module)
        _register()
