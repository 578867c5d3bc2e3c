"""What PaddleSlim's strategies need of Paddle 3 and of NumPy 2, for as long as they run; elsewhere it does nothing."""

from __future__ import annotations

import copy
import functools
from contextlib import ExitStack, contextmanager
from itertools import count
from pathlib import Path
from threading import RLock
from typing import Any, Callable, Iterator

import numpy as np
import paddle
from paddle.base.data_feeder import convert_dtype
from paddle.base.framework import Program

from ..old_programs import old_programs

# methods that return a program with variables in it whose names were given in another
_COPYING = ("parse_from_string", "_construct_from_desc", "_prune_with_input", "_inference_optimize",
            "_remove_training_info")
_IS_PADDLE_3 = hasattr(paddle.pir_utils, "DygraphOldIrGuard")
_turn = RLock()
_is_open = False


@contextmanager
def paddleslim_at_work() -> Iterator[None]:
    """While it is open, programs are old ones, and those that are loaded or cut out name what is added to them anew.

    Paddle 3 counts names by program, from ``tmp_0`` on: in a program that came out of a file, that may be there.
    NumPy 2 has no ``product`` any more, which PaddleSlim calls.
    """
    global _is_open
    with old_programs(), _turn:
        if _is_open:
            yield
            return
        _is_open = True
        with ExitStack() as way_back:
            way_back.callback(_close)
            if _IS_PADDLE_3:
                numbers = count()
                for name in _COPYING:
                    method = vars(Program)[name]
                    way_back.callback(setattr, Program, name, method)
                    setattr(Program, name, _with_new_names(method, numbers))
            if not hasattr(np, "product"):
                way_back.callback(delattr, np, "product")
                np.product = np.prod
            yield


def _close() -> None:
    global _is_open
    _is_open = False


def _with_new_names(method: Any, numbers: Iterator[int]) -> Any:
    """Return the method, static or not, with a prefix for what is added to its program that no name there begins with.
    """
    function: Callable[..., Program] = getattr(method, "__func__", method)

    @functools.wraps(function)
    def copied(*args: Any, **kwargs: Any) -> Program:
        program = function(*args, **kwargs)
        known = {variable.name for variable in program.list_vars()}
        prefix = next(prefix for prefix in (f"new{number}_" for number in numbers)
                      if not any(name.startswith(prefix) for name in known))
        program._name_generator.prefix = prefix
        return program

    return staticmethod(copied) if isinstance(method, staticmethod) else copied


@old_programs()
def tell_ranges(model: Path) -> None:
    """Write into a quantized ``.pdmodel`` which whole numbers its layers have.

    Paddle 3 goes by that and takes 8 bits where it is missing, whatever bits PaddleSlim names; Paddle 2.6 by the bits.
    """
    if not _IS_PADDLE_3:
        return
    program = paddle.static.deserialize_program(model.read_bytes())
    for operator in program.global_block().ops:
        if operator.type in ("quantize_linear", "dequantize_linear"):
            largest = 2 ** (operator.attr("bit_length") - 1) - 1
            operator._set_attr("qmin", -largest - 1)
            operator._set_attr("qmax", largest)
    model.write_bytes(program.desc.serialize_to_string())


@old_programs()
def old_loader(loader: Any) -> Any:
    """Return a user's loader; of a ``DataLoader`` for variables of a new program, one for the same of an old one."""
    feeds = getattr(loader, "feed_list", None) if _IS_PADDLE_3 else None
    if not feeds or not all(isinstance(feed, paddle.pir.Value) for feed in feeds):
        return loader
    other = copy.copy(loader)
    with paddle.static.program_guard(paddle.static.Program(), paddle.static.Program()):
        other.feed_list = [paddle.static.data(feed.name, list(feed.shape), convert_dtype(feed.dtype)) for feed in feeds]
    return other
