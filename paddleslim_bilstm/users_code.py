"""What tells versions of a user's own code apart (function teachers, hooks, losses, encoders, tasks), for caches."""

from __future__ import annotations

import dis
import functools
import importlib.util
import inspect
import logging
import re
import sys
import sysconfig
from contextlib import suppress
from importlib.machinery import PathFinder
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any, Callable
from weakref import WeakKeyDictionary

import numpy as np

from .storage import checksum

_log = logging.getLogger(__name__)

_SHOWN = 5
_warned: set[str] = set()
_LIBRARIES = {"site-packages", "dist-packages"}  # a user's and a system's, beside those of this Python
_sources: WeakKeyDictionary[Any, str] = WeakKeyDictionary()  # of functions and classes, as they were first seen


def code_fingerprint(what: str, code: Any) -> str:
    """Return what changes with a function, a callable object or a class: with its whole module, and what it holds.

    A warning, once, names what it holds whose content is unseen, unless its file tells that. ``what`` begins it.
    """
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


def content_of(function: Callable[..., Any]) -> tuple[list[Any], list[str]]:
    """Return the source of a function with the values that it holds, and what it holds beside, whose content is unseen.

    A function holds what it closes over, its defaults and what it uses of its module, a bound method and a callable
    object their attributes, too, a ``partial`` its arguments. Arrays, numbers, texts, tuples of these and other
    functions are seen; those that it uses of the user's other modules, classes and what it imports as it runs by their
    modules' source alone; models, lists and tables are not: they may change with each call.

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
    owner = thing if _is_object(thing) else getattr(thing, "__self__", None)
    content += _sources_of_class(owner if inspect.isclass(owner) else type(owner), module)
    for file in _imported_files(_code_of(thing)):
        content += [file.name, file.read_bytes().hex()]
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
        content += _sources_of_class(value, module)
    elif isinstance(value, functools._lru_cache_wrapper):
        _add(name, value.__wrapped__, module, content, unseen, seen)
    elif owner is None and (isinstance(value, functools.partial) or inspect.isroutine(value)):
        if id(value) not in seen:
            _look_into(value, content, unseen, seen)
    elif inspect.ismodule(value):
        content += [name, source_of(value)] if _is_of_user(value) else []
        content += _sources_of_submodules(value)
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
    except (TypeError, OSError):  # by Python's version
        return False


def _is_of_user(module: Any) -> bool:
    """Return whether a module is none of an installed library, nor Python's own."""
    file = getattr(module, "__file__", None)
    return file is not None and _is_users_file(Path(file))


def _is_users_file(file: Path) -> bool:
    return _LIBRARIES.isdisjoint(file.parts) and not any(
        file.is_relative_to(path) for path in sysconfig.get_paths().values())


def _sources_of_class(kind: type, module: str | None) -> list[str]:
    """Return names and sources of a class and of those that it inherits from, as far as they are of the user's modules
    other than ``module``.
    """
    users = [one for one in kind.__mro__ if one.__module__ != module and _is_of_user(sys.modules.get(one.__module__))]
    return [part for one in users for part in (one.__qualname__, source_of(one))]


def _sources_of_submodules(package: ModuleType) -> list[str]:
    """Return names and sources of the user's modules below ``package`` that are loaded: it may hand on what they hold.
    """
    below = sorted(name for name in sys.modules if name.startswith(f"{package.__name__}."))
    return [part for name in below if _is_of_user(sys.modules[name]) for part in (name, source_of(sys.modules[name]))]


def _imported_files(function: Any) -> list[Path]:
    """Return the files of the user's modules that a function imports as it runs, and of the packages around them."""
    if function is None:
        return []
    names = _imports_of(function.__code__, function.__globals__.get("__package__") or "")
    return list(dict.fromkeys(file for name in names for file in _files_of_module(name)))


def _imports_of(code: CodeType, package: str) -> list[str]:
    """Return the full names of what code imports, with those of the code inside it.

    Example: of ``from .models import weights`` in a package ``own``, ``["own.models", "own.models.weights"]``.
    """
    steps = [step for step in dis.get_instructions(code) if step.opname != "EXTENDED_ARG"]
    names = []
    for level, listed, step in zip(steps, steps[1:], steps[2:]):
        if step.opname == "IMPORT_NAME":
            with suppress(ImportError, ValueError):  # relative, of no package
                name = importlib.util.resolve_name("." * level.argval + step.argval, package)
                names += [name, *(f"{name}.{one}" for one in listed.argval or ())]
    return names + [name for part in code.co_consts if isinstance(part, CodeType)
                    for name in _imports_of(part, package)]


def _files_of_module(name: str) -> list[Path]:
    """Return the file of a module of the user's, behind those of the packages around it, without importing any."""
    whole, *parts = name.split(".")
    try:
        spec = importlib.util.find_spec(whole)
    except ValueError:  # of a module that was made, not imported
        spec = None
    files = []
    while spec is not None:
        files += [Path(spec.origin)] if spec.has_location and spec.origin.endswith(".py") else []
        if not parts or spec.submodule_search_locations is None:
            break
        whole = f"{whole}.{parts.pop(0)}"
        spec = PathFinder.find_spec(whole, spec.submodule_search_locations)
    return [file for file in files if _is_users_file(file)]


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


def source_of(function: Callable[..., Any]) -> str:
    """Return the source code of the whole module that a user's function or class stands in: its helpers count, too.

    Of what was typed into an interpreter, the cell or the bytecode. The same object has the same source for as long as
    it lives: where its file is edited, what is loaded stays what it was.
    """
    if inspect.ismodule(function):  # which stays the same object when it is loaded again
        return _read_source(function)
    try:
        if function not in _sources:
            _sources[function] = _read_source(function)
        return _sources[function]
    except TypeError:  # no key
        return _read_source(function)


def _read_source(function: Any) -> str:
    try:
        return Path(inspect.getsourcefile(function) or "").read_bytes().hex()
    except (OSError, TypeError):
        pass
    try:
        return inspect.getsource(function)
    except (OSError, TypeError):  # no text, or not a plain function
        parts = vars(function).values() if isinstance(function, type) else [function]
        codes = [code_in_words(part.__code__) for part in parts if hasattr(part, "__code__")]
        return " ".join(codes) or repr(function)


def code_in_words(constant: Any) -> str:
    """Return what a constant of a bytecode is, the same in each process."""
    if isinstance(constant, CodeType):
        return f"{constant.co_code.hex()} {constant.co_names} {list(map(code_in_words, constant.co_consts))}"
    return repr(sorted(map(repr, constant)) if isinstance(constant, frozenset) else constant)
