"""What Paddle keeps for the whole process, given back: its scopes, and the mode that it is in."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import Any, Iterator

import paddle

from .errors import UserError


@contextmanager
def own_scope() -> Iterator[Any]:
    """Make a new scope the current one, and free all that it holds at the end; nothing may run in it afterwards.

    Paddle itself keeps every scope, with a model's weights in it, until the process ends.
    """
    scope = paddle.static.Scope()
    try:
        with paddle.static.scope_guard(scope):
            yield scope
    finally:
        scope._remove_from_pool()


def enter_static_mode() -> None:
    """Bring Paddle into static mode.

    Raises:
        UserError: it stays in dynamic mode, which only the thread that has entered it can leave: the main thread, as it
            imports Paddle. Programs, scopes and unique names are the whole process's, so no other way is taken.
    """
    paddle.enable_static()
    if paddle.in_dynamic_mode():
        raise UserError("Paddle can't leave dynamic mode in another thread than the main one (this one is "
                        f"{threading.current_thread().name}); run this in the main thread, or in a process of its own "
                        "(multiprocessing)")


@contextmanager
def mode_kept() -> Iterator[None]:
    """Bring the mode back that Paddle is in now: users are in dynamic mode, jobs of ours in static."""
    was_dynamic = paddle.in_dynamic_mode()
    try:
        yield
    finally:
        if was_dynamic:
            _enter_dynamic_mode()
        else:
            paddle.enable_static()


@contextmanager
def static_mode() -> Iterator[None]:
    """Static mode; the mode that was on before comes back afterwards.

    Raises:
        UserError: see `enter_static_mode`.
    """
    with mode_kept():
        enter_static_mode()
        yield


@contextmanager
def dynamic_mode() -> Iterator[None]:
    """Dynamic mode, likewise."""
    with mode_kept():
        _enter_dynamic_mode()
        yield


def _enter_dynamic_mode() -> None:
    if not paddle.in_dynamic_mode():  # else, in another thread, Paddle would put a program of its own in place
        paddle.disable_static()
