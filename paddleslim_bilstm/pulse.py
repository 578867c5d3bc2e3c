"""The pulse of ranks: one whose machine has lost its power or its network tells nobody, so the others listen for it."""

from __future__ import annotations

import os
import signal
import sys
import threading
from typing import Any, Callable

_BEAT_S = 5.0
_BEATS = 4  # at least, within the limit
_FAREWELL_S = 10.0  # for the main thread to end by itself, and again once it was sent a signal


class Pulse:
    """Two threads, of which one says every few seconds that this rank lives, and one notices who no longer does.

    Rank 0, which holds the store, listens for all others, and they for it. Then, or once a rank has told of a failure,
    ``failure`` is set, and the process ends after a while even where its main thread waits within a library. Seconds in
    which this process itself was stopped don't count.

    Args:
        store: a connection of its own to what `ranks` talk through.
        others: the ranks to listen for.
        told: asks a store whether a rank has told of a failure, or is itself gone, and returns that, or None.
        silent: makes the failure of a rank that has fallen silent; it has a ``code`` to end with.
    """

    def __init__(self, store: Any, rank: int, others: list[int], limit_s: float, told: Callable[[Any], Any],
                 silent: Callable[[int], Any]):
        self._store, self._rank, self._others, self._told, self._silent = store, rank, others, told, silent
        self._beat_s = min(_BEAT_S, limit_s / _BEATS)
        self._limit = round(limit_s / self._beat_s)
        self._beats, self._last = 0, dict.fromkeys(others, 0)  # how many there were, and when each was heard last
        self._ended = threading.Event()
        self.failure: Any = None
        for work in (self._beat, self._listen):
            threading.Thread(target=work, daemon=True).start()  # it can't be interrupted within the store

    def stop(self) -> None:
        """Let the others no longer expect a word from here, nor this process from them."""
        self._ended.set()

    def _beat(self) -> None:
        heard: dict[int, int] = {}
        try:
            while not self._ended.wait(self._beat_s):
                self._store.add(_key(self._rank), 1)
                for other in self._others:
                    count = self._store.add(_key(other), 0)
                    if self._rank or count != heard.get(other):  # to answer is rank 0's sign of life
                        heard[other], self._last[other] = count, self._beats
                self.failure = self.failure or self._told(self._store)
        except Exception:  # the store is gone
            self.failure = self.failure or self._told(self._store)

    def _listen(self) -> None:
        while not self._ended.wait(self._beat_s) and self.failure is None:
            self._beats += 1
            quiet = [other for other in self._others if self._beats - self._last[other] > self._limit]
            if quiet:
                self.failure = self._silent(quiet[0])
        if self._ended.wait(_FAREWELL_S):
            return
        os.kill(os.getpid(), signal.SIGTERM)  # as the launcher does
        if self._ended.wait(_FAREWELL_S):
            return
        print(f"error: {self.failure}", file=sys.stderr, flush=True)
        os._exit(self.failure.code)


def _key(rank: int) -> str:
    return f"ranks/beats/{rank}"
