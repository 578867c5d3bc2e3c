"""What tells versions of a user's own code apart (hooks, losses, encoders, tasks), so that caches know it again."""

from __future__ import annotations

import inspect
import logging
import sys
from typing import Any

from .storage import checksum, source_of

_log = logging.getLogger(__name__)

_SHOWN = 5
_warned: set[str] = set()


def code_fingerprint(what: str, code: Any) -> str:
    """Return what changes with a function, a callable object or a class: with its whole module, and what it holds.

    A warning, once, names what it holds whose content is unseen, unless its file tells that. ``what`` begins it.
    """
    from .teacher.function_content import content_of  # which loads Paddle

    parts = _methods_of(code) if isinstance(code, type) else [code]
    found = [content_of(part) for part in parts]
    unseen = list(dict.fromkeys(name for _, names in found for name in names))
    if unseen and not all(map(_is_told_by_its_file, parts)):
        message = (f"{what}: the cache can't see what your code holds as {', '.join(unseen[:_SHOWN])}; where that "
                   "changes, start over with --fresh (in Python, fresh=True)")
        if message not in _warned:
            _warned.add(message)
            _log.warning("%s", message)
    own = [source_of(code), _plain_attributes(code)] if isinstance(code, type) else []
    return checksum(*own, *(part for content, _ in found for part in content))


def _own_classes(kind: type) -> list[type]:
    """Return a user's class with those of the user's that it is made of."""
    return [one for one in kind.__mro__ if one.__module__.partition(".")[0] != __package__]


def _methods_of(kind: type) -> list[Any]:
    values = [getattr(value, "fget", None) or getattr(value, "__func__", value)
              for one in _own_classes(kind) for value in vars(one).values()]
    return [value for value in values if inspect.isfunction(value)]


def _plain_attributes(kind: type) -> list[list[Any]]:
    return [[name, value] for one in _own_classes(kind) for name, value in vars(one).items()
            if isinstance(value, (str, int, float)) and not name.startswith("__")]


def _is_told_by_its_file(part: Any) -> bool:
    """Return whether a function holds nothing but what the code of its file has put into its module."""
    file = getattr(sys.modules.get(getattr(part, "__module__", None) or ""), "__file__", None)
    return inspect.isfunction(part) and not part.__closure__ and file is not None
