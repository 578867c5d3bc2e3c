"""Static programs as Paddle 2 has them, on Paddle 3 too, which makes others (PIR) unless it is told.

What a ``.pdmodel`` holds is an old program, and PaddleSlim knows no others. On Paddle 2.6 nothing here does anything.
"""

from __future__ import annotations

import functools
import sys
from contextlib import ExitStack, contextmanager
from threading import RLock
from typing import Any, Callable, Iterator

import paddle
from paddle.base.framework import Variable

from .old_functions import FUNCTIONS

HAS_NEW_PROGRAMS = not paddle.__version__.startswith("2.")
_PIR_FLAG = "FLAGS_enable_pir_api"
_CPP_FUNCTIONS = "paddle.base.dygraph.generated_tensor_methods_patch"  # since 3.2
_HOMES = ("paddle._C_ops", "paddle.base.libpaddle", _CPP_FUNCTIONS)
_OTHER_NAMES = {"input": "x", "other": "y", "dim": "axis"}  # that the C++ functions know, too
_lock = RLock()
_open = 0  # how many `old_programs` are, in all threads
_way_back = ExitStack()


@contextmanager
def old_programs() -> Iterator[None]:
    """While it is open, Paddle builds, loads, runs and saves old programs; then all is as it was.

    Dynamic mode works as ever meanwhile, and so do programs that others have made. It may be open several times.
    """
    global _open
    with _lock:
        _open += 1
        if _open == 1:
            _switch()
    try:
        yield
    finally:
        with _lock:
            _open -= 1
            if not _open:
                _way_back.close()


def _switch() -> None:
    if paddle.get_flags([_PIR_FLAG])[_PIR_FLAG]:
        _way_back.enter_context(paddle.pir_utils.DygraphOldIrGuard())
    wrappers = {id(function): _either(FUNCTIONS[name], function) for name, function in _cpp_functions()}
    if wrappers:
        _replace(wrappers)
        _way_back.callback(_replace, {id(both): both.of_tensors for both in wrappers.values()})


def _cpp_functions() -> Iterator[tuple[str, Callable]]:
    """Yield the functions that know no old programs, with their names: in C++, and as Paddle hands them out."""
    handed_out = sys.modules.get(_CPP_FUNCTIONS)
    for name in FUNCTIONS if handed_out else ():
        for module, attribute in ((paddle._C_ops, name), (handed_out, f"_{name}")):
            if hasattr(module, attribute):
                yield name, getattr(module, attribute)


def _either(of_programs: Callable, of_tensors: Callable) -> Callable:
    """Return a function that does one or the other, by the mode that Paddle is in."""
    @functools.wraps(of_programs)
    def both(*args: Any, **kwargs: Any) -> Any:
        if paddle.base.framework.in_dynamic_or_pir_mode():
            return of_tensors(*args, **kwargs)
        return of_programs(*args, **{_OTHER_NAMES.get(name, name): value for name, value in kwargs.items()})

    both.of_tensors = of_tensors
    return both


def _replace(others: dict[int, Callable]) -> None:
    """Put others in place of functions, known by their ids, wherever a module has them and in `Variable`."""
    modules = [module for name, module in list(sys.modules.items())
               if hasattr(module, "__dict__") and not name.startswith(_HOMES)]
    for holder in (Variable, *modules):
        for name, value in list(vars(holder).items()):
            other = others.get(id(value))
            if other is not None:
                setattr(holder, name, other)
