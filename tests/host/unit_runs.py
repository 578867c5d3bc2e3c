"""PaddleSlim's unit tests with and without the plugin, file by file, and what differs."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections import Counter
from pathlib import Path
from typing import Any, Iterable

from parts import HERE, REPOSITORY, hash_of, keep_result, kept_result, log_lines, run_process

SIDES = ("plain", "plugin")
_OFFLINE = {"PIP_NO_INDEX": "1", "PIP_CONFIG_FILE": os.devnull}  # PaddleSlim installs packages in the midst of a run
_NETWORK = re.compile(r"URLError|ConnectionError|NameResolutionError|Max retries|name resolution|Cannot download|"
                      r"Downloading from", re.IGNORECASE)
_NO_FILE = re.compile(r"not found|no such file|not exist|doesn't exist|please check", re.IGNORECASE)
_NO_GPU_TOLD = "Cannot use GPU"  # Paddle then ends the process
_NO_GPU, _NO_NETWORK = "needs a GPU", "needs a network"
_DOWNLOADS = re.compile(r"\bwget\b|https?://[\w.-]*bcebos|\.onnx")


def unit_files(checkout: Path) -> list[str]:
    """Return the checkout's test files below ``tests/`` as relative paths; those of ``act`` come first."""
    tests = checkout / "tests"
    names = [file.relative_to(tests).as_posix() for file in tests.rglob("test_*.py")]
    return sorted(names, key=lambda name: (not name.startswith("act/"), name))


def run_unit_files(checkout: Path, results: Path, limit_s: float, names: Iterable[str], on_file) -> None:
    """Run each file on both sides, and call ``on_file(name, plain, plugin)`` with the two results.

    A side works in its own copy of the checkout's ``tests`` and ``demo`` without the checkout's ``paddleslim``, so the
    installed one is tested. Paddle's CPU settings are those of a machine without the plugin on both sides.
    """
    tests = hash_of(checkout / "tests")
    work = results / "work" / tests
    settings = {"plain": {"tests": tests, "limit_s": limit_s},
                "plugin": {"tests": tests, "limit_s": limit_s, "package": hash_of(REPOSITORY / "paddleslim_bilstm")}}
    for name in names:
        both = []
        for side in SIDES:
            file = results / "unit" / side / Path(name).with_suffix(".json")
            both.append(kept_result(file, settings[side])
                        or keep_result(file, settings[side], _run(name, checkout, work / side, file, limit_s)))
        on_file(name, *both)


def _run(name: str, checkout: Path, work: Path, file: Path, limit_s: float) -> dict[str, Any]:
    """Run a file in the copy ``work``, with the plugin where that is so called; the log goes beside ``file``."""
    for part in ("tests", "demo"):
        if not (work / part).is_dir() and (checkout / part).is_dir():
            shutil.copytree(checkout / part, work / part)
    log = file.with_suffix(".log")
    outcome = work / "outcome.json"
    outcome.unlink(missing_ok=True)
    ended = run_process([str(HERE / "unit_file.py"), str(work / "tests" / name), str(outcome), work.name], log, limit_s,
                        {"PADDLESLIM_BILSTM_CPU_SETTINGS": "0", "PADDLESLIM_BILSTM_CACHE": str(work / "cache"),
                         **_OFFLINE})
    if not outcome.is_file() and ended.code is not None:
        raise RuntimeError(f"{name}: no test was begun; see {log}")
    told = json.loads(outcome.read_text(encoding="utf-8")) if outcome.is_file() else {"paddleslim": None, "tests": {}}
    text, tests = "\n".join(log_lines(log)), told["tests"]
    unfinished = [test for test, (outcome, _) in tests.items() if outcome == "unfinished"]
    for test in unfinished:
        tests[test][1] = _NO_GPU if _NO_GPU_TOLD in text else _NO_NETWORK if _NETWORK.search(text) else ""
    fault = ended.fault or (f"ended with {ended.code}" if unfinished and ended.code else "")
    downloads = bool(_DOWNLOADS.search((work / "tests" / name).read_text("utf-8")))
    return {**told, "fault": fault, "downloads": downloads, "seconds": round(ended.seconds, 1)}


def differences(plain: dict[str, Any], plugin: dict[str, Any]) -> list[str]:
    """Return what the plugin changed, one line a test: ``test_x: passed without, failed with it (ValueError: ...)``."""
    if plain["fault"] == plugin["fault"] == "timed out":  # how far each came is a matter of the machine
        return []
    lines = [f"ended: {plain['fault'] or 'normally'} without, {plugin['fault'] or 'normally'} with it"] \
        if plain["fault"] != plugin["fault"] else []
    for test in sorted({*plain["tests"], *plugin["tests"]}):
        before, after = (side["tests"].get(test, ["absent", ""]) for side in (plain, plugin))
        if before[0] != after[0]:
            lines.append(f"{test}: {before[0]} without ({before[1]}), {after[0]} with it ({after[1]})")
    return lines


def counts(result: dict[str, Any]) -> str:
    """Return such as ``"5 passed, 1 error"``, with the fault of the process behind it."""
    counted = Counter(outcome for outcome, _ in result["tests"].values())
    order = ("passed", "failed", "error", "skipped", "unfinished")
    words = [f"{counted[outcome]} {outcome}" for outcome in order if counted[outcome]] or ["no tests"]
    return ", ".join(words + ([result["fault"]] if result["fault"] else []))


def why(result: dict[str, Any]) -> str:
    """Return the reasons for which tests of the file don't pass, such as ``"needs a network (3)"``, commonest first."""
    told = [reason for outcome, reason in result["tests"].values() if outcome not in ("passed", "skipped") and reason]
    reasons = Counter(_NO_NETWORK if _needs_network(reason, result["downloads"]) else reason for reason in told)
    return "; ".join(f"{reason} ({count})" for reason, count in reasons.most_common(3))


def _needs_network(reason: str, downloads: bool) -> bool:
    """Tell by a test's reason, and by whether its file downloads anything, if it failed for want of a network."""
    return bool(_NETWORK.search(reason)) or downloads and bool(_NO_FILE.search(reason))
