"""What tells versions of a user's function apart, where it doesn't say so itself."""

from __future__ import annotations

import functools
import inspect
from contextlib import suppress
from typing import Any, Callable

import numpy as np

from ..storage import source_of


def content_of(function: Callable[..., Any]) -> tuple[list[Any], list[str]]:
    """Return the source of a function with the values that it holds, and what it holds beside, whose content is unseen.

    A function holds what it closes over, its defaults and the models of its module that it calls, a bound method and a
    callable object their attributes, a ``partial`` its arguments. Arrays, numbers, texts, tuples of these and other
    functions are seen; models, lists and tables are not: they may change with each call.

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
    for name, value in held.items():
        if _is_plain(value) or isinstance(value, np.ndarray) and not value.dtype.hasobject:
            content += [name, value]
        elif isinstance(value, functools.partial) or inspect.isroutine(value):
            if id(value) not in seen:
                _look_into(value, content, unseen, seen)
        elif not inspect.ismodule(value) and not inspect.isclass(value):
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
    """Return the variables around a function, its defaults, and what it calls of its module that is no function."""
    held = {name: value for name in function.__code__.co_names
            if callable(value := function.__globals__.get(name)) and not inspect.isroutine(value)}
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or ()):
        with suppress(ValueError):  # a variable that has no value yet
            held[name] = cell.cell_contents
    return {**held, **{name: parameter.default for name, parameter in inspect.signature(function).parameters.items()
                       if parameter.default is not parameter.empty}}


def _is_plain(value: Any) -> bool:
    return isinstance(value, (str, bytes, int, float, type(None))) or isinstance(value, tuple) and all(
        map(_is_plain, value))
