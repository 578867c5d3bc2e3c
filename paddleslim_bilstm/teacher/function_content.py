"""What tells versions of a user's function apart, where it doesn't say so itself."""

from __future__ import annotations

import dis
import functools
import inspect
import logging
from contextlib import suppress
from types import CodeType
from typing import Any, Callable

import numpy as np

from ..storage import source_of


def content_of(function: Callable[..., Any]) -> tuple[list[Any], list[str]]:
    """Return the source of a function with the values that it holds, and what it holds beside, whose content is unseen.

    A function holds what it closes over, its defaults and what it uses of its module, a bound method and a callable
    object their attributes, a ``partial`` its arguments. Arrays, numbers, texts, tuples of these and other functions
    are seen, functions of another module by its source alone; models, lists and tables are not: they may change with
    each call.

    Example: of ``lambda texts: model(texts) * scale`` the source and ``scale``, and ``["model (BertModel)"]``.
    """
    content: list[Any] = []
    unseen: list[str] = []
    _look_into(function, content, unseen, set())
    return content, unseen


def _look_into(function: Any, content: list[Any], unseen: list[str], seen: set[int]) -> None:
    seen.add(id(function))
    source, held = _taken_apart(function)
    content.append(source)
    elsewhere = {name for name, value in held.items() if inspect.isroutine(value)
                 and getattr(value, "__module__", None) != getattr(function, "__module__", None)}
    for name, value in held.items():
        if _is_plain(value) or isinstance(value, np.ndarray) and not value.dtype.hasobject:
            content += [name, value]
        elif name in elsewhere:
            content += [name, source_of(value) if inspect.isfunction(value) else value.__qualname__]
        elif isinstance(value, functools.partial) or inspect.isroutine(value):
            if id(value) not in seen:
                _look_into(value, content, unseen, seen)
        elif not inspect.ismodule(value) and not inspect.isclass(value) and not isinstance(value, logging.Logger):
            unseen.append(f"{name} ({type(value).__name__})")


def _taken_apart(function: Any) -> tuple[str, dict[str, Any]]:
    """Return the source of a function, method, ``partial`` or callable object, and what it holds by name."""
    if isinstance(function, functools.partial):
        return "partial", {"function": function.func, **{str(place): one for place, one in enumerate(function.args)},
                           **function.keywords}
    if inspect.isbuiltin(function):
        return repr(function.__qualname__), {}
    if inspect.ismethod(function):
        return source_of(function), {**_held_by_code(function.__func__), **getattr(function.__self__, "__dict__", {})}
    if inspect.isfunction(function):
        return source_of(function), _held_by_code(function)
    return source_of(type(function)), dict(getattr(function, "__dict__", {}))


def _held_by_code(function: Any) -> dict[str, Any]:
    """Return the variables around a function, its defaults, and what it uses of its module."""
    held = {name: function.__globals__[name] for name in _globals_of(function.__code__) if name in function.__globals__}
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or ()):
        with suppress(ValueError):  # a variable that has no value yet
            held[name] = cell.cell_contents
    return {**held, **{name: parameter.default for name, parameter in inspect.signature(function).parameters.items()
                       if parameter.default is not parameter.empty}}


def _globals_of(code: CodeType) -> list[str]:
    """Return the names that code looks up in its module, in order, with those of the code inside it."""
    names = [step.argval for step in dis.get_instructions(code) if step.opname in ("LOAD_GLOBAL", "LOAD_NAME")]
    inside = [name for part in code.co_consts if isinstance(part, CodeType) for name in _globals_of(part)]
    return list(dict.fromkeys(names + inside))


def _is_plain(value: Any) -> bool:
    return isinstance(value, (str, bytes, int, float, type(None))) or isinstance(value, tuple) and all(
        map(_is_plain, value))
