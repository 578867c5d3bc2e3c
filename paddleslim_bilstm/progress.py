"""What the screen shows of a run: progress of the long stages, and of what libraries say only the errors."""

from __future__ import annotations

import io
import logging
import re
import sys
import time
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from pathlib import Path
from typing import Any, Callable, Iterator, TextIO

from tqdm import tqdm

from . import ranks
from .errors import UserError

_SECONDS_BETWEEN_LINES = 30.0
_DELAY_S = 1.0  # a stage that is done sooner shows nothing
_BAR = "{desc} |{bar}| {n_fmt} of {total_fmt}, {rate_noinv_fmt}, {remaining} left{postfix}"


def progress_bar(stage: str, total: int, unit: str) -> tqdm | ProgressLines:
    """Return what shows how far ``stage`` is: done, total, rate and time left, once it has run for a second.

    On a terminal it is a tqdm bar, otherwise (a log file, a notebook's cell) `ProgressLines`. Use it as a context
    manager and call ``update(n)`` with the ``unit``s done since the last call. Of several ranks only the first shows
    anything.
    """
    if not ranks.is_first():
        return _Silent(stage, total, unit)
    stream = _screen()
    if not stream.isatty():
        return ProgressLines(stage, total, unit, stream)
    return tqdm(total=total, desc=stage, unit="", unit_scale=True, delay=_DELAY_S, mininterval=0.5, bar_format=_BAR,
                dynamic_ncols=True, file=stream)


class ProgressLines:
    """A plain line every 30 seconds, and one at the end; what we use of tqdm's methods.

    >>> ProgressLines("distil", 1200, "sentences")
    distil: 400 of 1,200 sentences, 13/s, 1 min left, loss=0.0312
    distil: 1,200 of 1,200 sentences, 13/s, took 1 min 30 s, loss=0.0181

    Attributes:
        initial: how many of those done were found rather than made; they don't count in the rate.
    """

    def __init__(self, stage: str, total: int, unit: str, stream: TextIO | None = None,
                 clock: Callable[[], float] = time.monotonic):
        self.initial = 0
        self._stage, self._total, self._unit = stage, total, unit
        self._stream, self._clock = stream or _screen(), clock
        self._done, self._postfix = 0, ""
        self._started = self._last_line = clock()

    def __enter__(self) -> ProgressLines:
        return self

    def __exit__(self, *_: object) -> None:
        seconds = self._clock() - self._started
        if seconds >= _DELAY_S:
            self._write(f"took {_duration(seconds)}")

    def update(self, done: int) -> None:
        """Count ``done`` more."""
        self._done += done
        now = self._clock()
        if now - self._last_line >= _SECONDS_BETWEEN_LINES:
            self._last_line = now
            rate = self._rate()
            self._write(f"{_duration((self._total - self._done) / rate)} left" if rate else "")

    def set_postfix(self, refresh: bool = True, **values: Any) -> None:
        """Show ``values`` at the end of the lines to come."""
        self._postfix = " ".join(f"{name}={value:.3g}" if isinstance(value, float) else f"{name}={value}"
                                 for name, value in values.items())

    def _rate(self) -> float:
        seconds = self._clock() - self._started
        return max(self._done - self.initial, 0) / seconds if seconds else 0.0

    def _write(self, time_told: str) -> None:
        rate = self._rate()
        shown = f"{rate:,.0f}" if rate >= 10 else f"{rate:.1f}"
        parts = [f"{self._done:,} of {self._total:,} {self._unit}", f"{shown}/s", time_told, self._postfix]
        with suppress(OSError):  # whoever read it is gone, and the work goes on
            print(f"{self._stage}: {', '.join(filter(None, parts))}", file=self._stream, flush=True)


class _Silent(ProgressLines):
    def _write(self, time_told: str) -> None:
        pass


def _duration(seconds: float) -> str:
    """``4521 -> "1 h 15 min"``, ``90 -> "1 min 30 s"``."""
    minutes, rest = divmod(round(seconds), 60)
    if minutes >= 60:
        return f"{minutes // 60} h {minutes % 60} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


RUN_LOG = "run.log"
_GRAVE = re.compile(r"\b(ERROR|CRITICAL|FATAL)\b|^(Traceback|\w*(Error|Exception)\b)")
_log = logging.getLogger(__package__)


@contextmanager
def quiet_libraries(log: Path | None) -> Iterator[None]:
    """Put what libraries print and log while the block runs into ``log``, behind what is there; None leaves it be.

    Lines that tell of errors are shown all the same, and so is what this package says, which stands in ``log``, too.
    Of Paddle's C++ parts the screen has what it always has: errors. A block that fails unforeseen names ``log``.
    """
    if log is None:
        yield
        return
    with open(log, "a", encoding="utf-8", errors="backslashreplace") as file:
        aside, own = _Aside(file, sys.stderr), logging.StreamHandler(file)
        own.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
        _log.addHandler(own)
        try:
            with redirect_stdout(aside), redirect_stderr(aside):
                yield
        except (UserError, ranks.OtherRankFailed, ImportError, OSError):  # told in a line
            raise
        except Exception:
            print(f"what PaddleSlim and Paddle said: {log}", file=_screen())
            raise
        finally:
            _log.removeHandler(own)


class _Aside(io.TextIOBase):
    """A stream in place of the screen, which is shown errors alone, and once the file is closed all."""

    def __init__(self, file: TextIO, screen: TextIO):
        self._file, self.screen, self._bar = file, screen, ""

    def write(self, text: str) -> int:
        if self._file.closed:  # by a logger that was made while the block ran
            return _screen().write(text)
        if text.startswith("\r"):  # a bar, of which the last state counts
            self._bar = text.strip("\r")
        else:
            self._file.write(self._bar + text)
            self._bar = ""
        if any(_GRAVE.search(line) for line in text.splitlines()):
            self.screen.write(text if text.endswith("\n") else f"{text}\n")
        return len(text)

    def flush(self) -> None:
        (_screen() if self._file.closed else self._file).flush()

    def fileno(self) -> int:
        return self.screen.fileno()

    @property
    def encoding(self) -> str:
        return "utf-8"


def _screen() -> TextIO:
    """Return standard error, whether libraries are quiet or not."""
    return sys.stderr.screen if isinstance(sys.stderr, _Aside) else sys.stderr
