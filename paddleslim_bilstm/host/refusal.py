"""What becomes of our sections where they can't be served: refused, not passed over (needs no pydantic)."""

from __future__ import annotations

import functools
import inspect
from typing import Any

from ..config.source import names_in
from . import DATA_HOOK, STRATEGY
from .versions import UnsupportedVersion


def refuse_our_sections(reason: str) -> None:
    """Have PaddleSlim's ``AutoCompression``, where there is one, raise `UnsupportedVersion` at our sections.

    PaddleSlim itself would pass over them, and do something else than what the config says.
    """
    try:
        from paddleslim.auto_compression import AutoCompression
    except ImportError:
        return
    original_init = AutoCompression.__init__
    signature = inspect.signature(original_init)

    @functools.wraps(original_init)
    def __init__(self, *args: Any, **kwargs: Any):
        sections = names_in(signature.bind(self, *args, **kwargs).arguments.get("config"))
        for name in (STRATEGY, DATA_HOOK):
            if name in sections:
                raise UnsupportedVersion(f"{name}: {reason}")
        original_init(self, *args, **kwargs)

    AutoCompression.__init__ = __init__
