"""Measurements in processes of their own: with Paddle as it is after installing, or with our CPU settings."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any, Callable

_PACKAGE_ROOT = Path(__file__).resolve().parents[1]
_THREADS = ("MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


def run_child(script: str | Path, job: dict[str, Any], tuned: bool, path: str | None = None) -> dict[str, Any]:
    """Run ``script`` with ``job`` as its one argument, in JSON, and return what it hands to ``answer``.

    Args:
        tuned: with our CPU settings; otherwise with none, whatever this process's environment holds.
        path: a folder of packages that come first in the child.
    """
    from paddleslim_bilstm.cpu import SWITCH, wanted_settings  # here: the children need nothing of ours
    settings = wanted_settings()
    environment = {name: value for name, value in os.environ.items() if name not in (*settings, *_THREADS)}
    environment.update({**settings, SWITCH: "1"} if tuned else {SWITCH: "0"})
    folders = [path, str(_PACKAGE_ROOT), os.environ.get("PYTHONPATH")]
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, folders))
    done = subprocess.run([sys.executable, str(script), json.dumps(job)], env=environment, stdout=subprocess.PIPE,
                          check=True, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def answer(measure: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    """In the child: measure the job and print the result, with the process's peak memory."""
    result = measure(json.loads(sys.argv[1]))
    print(json.dumps({**result, "peak_mib": peak_mib()}))


def peak_mib() -> float:
    """Return the most memory that this process has held, mapped files counted (Linux)."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    raise RuntimeError("/proc/self/status has no VmHWM")


def forget_peak() -> None:
    """Let ``peak_mib`` count from now on."""
    Path("/proc/self/clear_refs").write_text("5")


def median(results: list[dict[str, Any]], *keys: str) -> float:
    """Return the median over ``results`` of the number under ``keys``."""
    numbers = []
    for result in results:
        for key in keys:
            result = result[key]
        numbers.append(result)
    return statistics.median(numbers)
