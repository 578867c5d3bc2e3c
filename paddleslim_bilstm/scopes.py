"""Where Paddle keeps the variables of programs, and gives back their memory."""

from __future__ import annotations

from contextlib import contextmanager
from typing import Iterator

import paddle


@contextmanager
def own_scope() -> Iterator[paddle.static.Scope]:
    """Run programs of the block in a new scope that ends with it; copy what is to stay.

    Paddle holds on to every ``paddle.static.Scope``, and so to the weights in it, until the process ends.
    """
    scope = paddle.static.Scope()
    try:
        with paddle.static.scope_guard(scope):
            yield scope
    finally:
        scope._remove_from_pool()
