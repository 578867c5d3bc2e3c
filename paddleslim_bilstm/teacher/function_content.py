"""What tells versions of a user's function apart, where it doesn't say so itself."""

from __future__ import annotations

import dis
import functools
import inspect
import logging
import re
import sys
import sysconfig
from contextlib import suppress
from pathlib import Path
from types import CodeType
from typing import Any, Callable

import numpy as np

from ..storage import code_in_words, source_of


def content_of(function: Callable[..., Any]) -> tuple[list[Any], list[str]]:
    """Return the source of a function with the values that it holds, and what it holds beside, whose content is unseen.

    A function holds what it closes over, its defaults and what it uses of its module, a bound method and a callable
    object their attributes, too, a ``partial`` its arguments. Arrays, numbers, texts, tuples of these and other
    functions are seen, those that it uses of another module by its source alone; models, lists and tables are not: they
    may change with each call.

    Example: of ``lambda texts: model(texts) * scale`` the source and ``scale``, and ``["model (BertModel)"]``.
    """
    content: list[Any] = []
    unseen: list[str] = []
    _look_into(function, content, unseen, set())
    return content, unseen


def _look_into(thing: Any, content: list[Any], unseen: list[str], seen: set[int]) -> None:
    seen.add(id(thing))
    content.append(_source(thing))
    if _is_object(thing) and not _has_text(type(thing)):
        unseen.append(f"{type(thing).__qualname__} (class)")
    module, used = _used(thing)
    for name, value in used.items():
        if inspect.isfunction(value) and value.__module__ != module and not _is_of_library(value):
            # its source tells its versions apart
            content += [name, source_of(value)]
        else:
            _add(name, value, module, content, unseen, seen)
    for name, value in _held(thing).items():
        _add(name, value, module, content, unseen, seen)


def _add(name: str, value: Any, module: str | None, content: list[Any], unseen: list[str], seen: set[int]) -> None:
    owner = getattr(value, "__self__", None) if inspect.isbuiltin(value) else None
    if _is_plain(value) or isinstance(value, np.ndarray) and not value.dtype.hasobject:
        content += [name, value]
    elif isinstance(value, re.Pattern):
        content += [name, value.pattern, value.flags]
    elif isinstance(value, np.ufunc) or _is_of_library(value) or inspect.isbuiltin(value) and (
            owner is None or inspect.ismodule(owner) or inspect.isclass(owner)):
        content += [name, getattr(value, "__qualname__", value.__name__)]
    elif inspect.isclass(value):
        if value.__module__ == module and _has_text(value):
            content += [name, source_of(value)]
        elif value.__module__ == module:
            unseen.append(f"{name} (class)")
    elif isinstance(value, functools._lru_cache_wrapper):
        _add(name, value.__wrapped__, module, content, unseen, seen)
    elif owner is None and (isinstance(value, functools.partial) or inspect.isroutine(value)):
        if id(value) not in seen:
            _look_into(value, content, unseen, seen)
    elif inspect.ismodule(value):
        content += [name, source_of(value)] if _is_of_user(value) else []
    elif not isinstance(value, logging.Logger):
        unseen.append(f"{name} ({type(value).__name__})")


def _is_of_library(value: Any) -> bool:
    """Return whether a function, bound to nothing, is an installed library's or Python's own: its name tells it."""
    if not inspect.isroutine(value) or inspect.ismethod(value) or inspect.isbuiltin(value):
        return False
    module = sys.modules.get(getattr(value, "__module__", None) or "")
    return module is not None and not _is_of_user(module) and getattr(module, "__file__", None) is not None


def _has_text(kind: type) -> bool:
    """Return whether the source of a class is at hand; that of a notebook's isn't."""
    try:
        return Path(inspect.getsourcefile(kind) or "").is_file()
    except TypeError:
        return False


def _is_of_user(module: Any) -> bool:
    """Return whether a module is none of an installed library, nor Python's own."""
    file = getattr(module, "__file__", None)
    return file is not None and not any(Path(file).is_relative_to(path) for path in sysconfig.get_paths().values())


def _source(thing: Any) -> str:
    if isinstance(thing, functools.partial):
        return "partial"
    if inspect.isbuiltin(thing):
        return repr(thing.__qualname__)
    thing = type(thing) if _is_object(thing) else thing
    name = getattr(thing, "__qualname__", "")  # of several in one module
    which = code_in_words(thing.__code__) if name.endswith("<lambda>") else name
    return f"{which} {source_of(thing)}"


def _is_object(thing: Any) -> bool:
    return not (inspect.isroutine(thing) or isinstance(thing, functools.partial))


def _code_of(thing: Any) -> Any:
    """Return the function with the code that a call of ``thing`` runs, if there is one in Python."""
    thing = type(thing).__call__ if _is_object(thing) else getattr(thing, "__func__", thing)
    return thing if inspect.isfunction(thing) else None


def _used(thing: Any) -> tuple[str | None, dict[str, Any]]:
    """Return the module of a function, method or callable object, and what it uses of it by name."""
    function = _code_of(thing)
    if function is None:
        return getattr(thing, "__module__", None), {}
    around = function.__globals__
    return function.__module__, {name: around[name] for name in _globals_of(function.__code__) if name in around}


def _held(thing: Any) -> dict[str, Any]:
    """Return a ``partial``'s arguments, an object's or a method's attributes, the variables around code, its defaults.
    """
    if isinstance(thing, functools.partial):
        return {"function": thing.func, **{str(place): one for place, one in enumerate(thing.args)}, **thing.keywords}
    held = dict(getattr(getattr(thing, "__self__", thing), "__dict__", {})) if not inspect.isfunction(thing) else {}
    function = _code_of(thing)
    if function is None:
        return held
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
