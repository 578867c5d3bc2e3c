"""SIGTERM, as a preempted machine or a scheduler sends it, ends a command as Ctrl-C does."""

from __future__ import annotations

import signal
import threading


class Terminated(KeyboardInterrupt):
    """SIGTERM has come."""


def end_on_sigterm() -> None:
    """From now on SIGTERM raises `Terminated` in the main thread, once: launchers send several."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, _raise)


def still_end_on_sigterm() -> None:
    """Do it again, if it was done: a library may have put back what the system does, which Python doesn't notice."""
    if signal.getsignal(signal.SIGTERM) is _raise:
        end_on_sigterm()


def _raise(*_: object) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # or another one would break off what is said and tidied up now
    raise Terminated
