"""Parts of the harness: each is one process with a time limit, whose result is kept in a file and not made again."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Mapping, Sequence

REPOSITORY = Path(__file__).resolve().parents[2]
HERE = Path(__file__).resolve().parent


@dataclass(frozen=True)
class Ended:
    """How a process ended: ``code`` is its return code (negative: the signal), or None after the time limit."""

    code: int | None
    seconds: float

    @property
    def fault(self) -> str:
        """What is wrong with the end in words, or an empty string."""
        if self.code is None:
            return "timed out"
        return f"killed by {signal.Signals(-self.code).name}" if self.code < 0 else ""


def run_process(arguments: Sequence[str], log: Path, limit_s: float, env: Mapping[str, str] | None = None,
                cwd: Path | None = None) -> Ended:
    """Run this Python with ``arguments``, its output in ``log``; after ``limit_s`` seconds end its process group.

    The package of this checkout comes first on its path, and the environment is otherwise this one's plus ``env``.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    path = os.pathsep.join(filter(None, [str(REPOSITORY), os.environ.get("PYTHONPATH")]))
    started = time.monotonic()
    with log.open("w", encoding="utf-8") as output:
        process = subprocess.Popen([sys.executable, *arguments], stdin=subprocess.DEVNULL, stdout=output,
                                   stderr=subprocess.STDOUT, cwd=cwd, start_new_session=True,
                                   env={**os.environ, "PYTHONPATH": path, **(env or {})})
        try:
            code = process.wait(limit_s)
        except BaseException as error:  # the limit, or an interrupt: the children go, too
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            if not isinstance(error, subprocess.TimeoutExpired):
                raise
            code = None
    return Ended(code, time.monotonic() - started)


def kept_result(file: Path, settings: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the result in ``file`` if it was made with these ``settings``."""
    if not file.is_file():
        return None
    result = json.loads(file.read_text(encoding="utf-8"))
    return result if result["settings"] == settings else None


def keep_result(file: Path, settings: Mapping[str, Any], result: Mapping[str, Any]) -> dict[str, Any]:
    """Write ``result`` with its ``settings`` to ``file`` in one move, and return it."""
    file.parent.mkdir(parents=True, exist_ok=True)
    result = {"settings": dict(settings), **result}
    beside = file.with_name(f"{file.name}.part")
    beside.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    os.replace(beside, file)
    return result


def hash_of(folder: Path) -> str:
    """Return a short hash of the names and contents of the Python files below ``folder``."""
    digest = hashlib.sha256()
    for file in sorted(folder.rglob("*.py")):
        digest.update(str(file.relative_to(folder)).encode() + b"\0" + file.read_bytes() + b"\0")
    return digest.hexdigest()[:16]


def log_lines(log: Path) -> list[str]:
    return log.read_text(encoding="utf-8", errors="replace").replace("\r", "\n").splitlines() if log.is_file() else []
