"""What Paddle keeps for the whole process, given back: its scopes, and the mode that it is in."""

from __future__ import annotations

from contextlib import contextmanager
from typing import Any, Iterator

import paddle


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


@contextmanager
def mode_kept() -> Iterator[None]:
    """Bring the mode back that Paddle is in now: users are in dynamic mode, jobs of ours in static."""
    was_dynamic = paddle.in_dynamic_mode()
    try:
        yield
    finally:
        if was_dynamic:
            paddle.disable_static()
        else:
            paddle.enable_static()


@contextmanager
def static_mode() -> Iterator[None]:
    """Static mode; the mode that was on before comes back afterwards."""
    with mode_kept():
        paddle.enable_static()
        yield


@contextmanager
def dynamic_mode() -> Iterator[None]:
    """Dynamic mode, likewise."""
    with mode_kept():
        paddle.disable_static()
        yield
