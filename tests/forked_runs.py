"""Runs of ``paddleslim-bilstm compress`` as forks of one process that has loaded Paddle, so that each starts at once.

The process that forks must never have run anything in Paddle: it only imports. It keeps to one core, so that runs count
on one thread however busy the machine is.
"""

from __future__ import annotations

import logging
import os
import select
import signal
import sys
import time
import traceback
from dataclasses import dataclass, field
from pathlib import Path
from typing import Callable

if hasattr(os, "sched_setaffinity"):  # before Paddle counts the cores
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})

import matplotlib.pyplot  # noqa: F401
import textblob.en  # noqa: F401

from paddleslim_bilstm import cli
from paddleslim_bilstm.augment.speech import EnglishTagger
from paddleslim_bilstm.cpu import apply_cpu_settings
from paddleslim_bilstm.report import measure as latency
from paddleslim_bilstm.teacher import labelling

apply_cpu_settings()

import paddle  # noqa: E402

CHUNK_SENTENCES = 50  # so that a small transfer set has many chunks
DONE_TIMEOUT_S = 600


def prepare() -> None:
    """Load what runs load later, and make their chunks and measurements small."""
    from paddlenlp.transformers import AutoModelForSequenceClassification  # noqa: F401
    EnglishTagger()._parser  # noqa: B018
    labelling.CHUNK_SENTENCES = CHUNK_SENTENCES
    latency.SINGLE_SENTENCES, latency.BATCHES, latency.PASSES = 5, 1, 1
    paddle.enable_static()


@dataclass
class Run:
    """A run in a process of its own.

    Attributes:
        log: file of what it prints.
        stages: those that it has begun so far, with the moment of each.
        code: its exit code, negative for a signal's; None while it runs.
    """

    process: int
    events: int
    log: Path
    stages: list[tuple[str, float]] = field(default_factory=list)
    code: int | None = None

    def follow(self, seconds: float, until: str | None = None) -> bool:
        """Note the stages that begin, for ``seconds`` at most; return whether it runs on (and has begun ``until``)."""
        end = time.monotonic() + seconds
        while until is None or until not in [name for name, _ in self.stages]:
            left = end - time.monotonic()
            if left <= 0 or self.code is not None:
                return self.code is None and until is None
            if select.select([self.events], [], [], left)[0]:
                news = os.read(self.events, 4096).decode()
                self.stages += [(name, time.monotonic()) for name in news.splitlines()]
                if not news:
                    self._ended()
        return self.code is None

    def wait(self) -> int:
        """Wait for its end and return its exit code."""
        self.follow(DONE_TIMEOUT_S)
        if self.code is None:
            self.kill()
            raise TimeoutError(f"a run takes more than {DONE_TIMEOUT_S} s: {self.text()[-2000:]}")
        return self.code

    def kill(self, number: int = signal.SIGKILL) -> None:
        """Send a signal and, after SIGKILL, wait for the end."""
        if self.code is None:
            os.kill(self.process, number)
        if number == signal.SIGKILL:
            self.follow(DONE_TIMEOUT_S)

    def text(self) -> str:
        """Return what it has printed."""
        return self.log.read_text(errors="replace")

    def _ended(self) -> None:
        _, status = os.waitpid(self.process, 0)
        self.code = os.waitstatus_to_exitcode(status)
        os.close(self.events)


def start(arguments: list[str], log: Path, before: Callable[[], None] | None = None, command: str = "compress") -> Run:
    """Fork, call ``before``, and run ``paddleslim-bilstm COMMAND ARGUMENTS`` with its output in ``log``."""
    events, begun = os.pipe()
    process = os.fork()
    if process:
        os.close(begun)
        return Run(process, events, log)
    try:
        os.close(events)
        output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(output, 1)
        os.dup2(output, 2)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        _tell_stages(begun)
        if before:
            before()
        code = cli.main([command, *arguments])
    except BaseException:
        traceback.print_exc()
        code = 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def program_lines(content: bytes) -> list[str]:
    """Return variables and operators of a ``.pdmodel``, a line each, in their order."""
    return str(paddle.static.deserialize_program(content)).splitlines()


def _tell_stages(pipe: int) -> None:
    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if record.getMessage().endswith(" ..."):
                os.write(pipe, record.getMessage()[:-4].encode() + b"\n")

    logging.getLogger("paddleslim_bilstm.run").addHandler(Handler())
