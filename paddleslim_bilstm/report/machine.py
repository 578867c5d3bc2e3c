"""The machine and the software that a report's figures belong to."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import subprocess
from pathlib import Path
from typing import Any

import paddle

from ..cpu import physical_cores

_INSTRUCTION_SETS = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_int8", "amx_bf16")
_CPU_SETTINGS = ("MKL_DEBUG_CPU_TYPE", "OMP_NUM_THREADS", "FLAGS_paddle_num_threads")
_DISTRIBUTIONS = ("paddleslim-bilstm", "paddlepaddle", "paddlepaddle-gpu", "paddleslim", "paddlenlp", "numpy",
                  "tokenizers", "onnxruntime")


def hardware() -> dict[str, Any]:
    """Describe the machine; what can't be found out is None (or an empty list).

    Returns:
        cpu: the processor's name. physical_cores, logical_cores: those that this process may use.
        instruction_sets: the ones that matter for matrix products. memory_bytes: of the machine or, if lower,
        the container. gpus: their names. cpu_settings: environment variables that decide Paddle's speed.
        os: its name and version. python: its version.
    """
    cpuinfo = _read("/proc/cpuinfo")
    flags = set(_field(cpuinfo, "flags").split())
    return {
        "cpu": _field(cpuinfo, "model name") or _cpu_name_elsewhere() or None,
        "physical_cores": physical_cores(),
        "logical_cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "instruction_sets": [name for name in _INSTRUCTION_SETS if name in flags],
        "memory_bytes": _memory_bytes(),
        "gpus": _gpus(),
        "cpu_settings": {name: os.environ[name] for name in _CPU_SETTINGS if name in os.environ},
        "os": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
    }


def versions() -> dict[str, str]:
    """Return the versions of the installed packages that decide the figures, by distribution name."""
    found = {}
    for name in _DISTRIBUTIONS:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def describe(machine: dict[str, Any]) -> str:
    """Return one line for people, such as "AMD EPYC, 2 cores, avx2 avx512f, 25 GB, Linux-6.1"."""
    cores = machine["physical_cores"]
    memory = machine["memory_bytes"]
    parts = [machine["cpu"] or "unknown CPU", f"{cores} core{'s' * (cores != 1)}",
             " ".join(machine["instruction_sets"]), f"{memory / 1e9:.0f} GB" if memory else "",
             ", ".join(machine["gpus"]), machine["os"], f"Python {machine['python']}"]
    return ", ".join(part for part in parts if part)


def _field(cpuinfo: str, name: str) -> str:
    """Return the first value of ``name``, or "": ``"model name\\t: AMD EPYC" -> "AMD EPYC"``."""
    for line in cpuinfo.splitlines():
        key, _, value = line.partition(":")
        if key.strip() == name:
            return value.strip()
    return ""


def _cpu_name_elsewhere() -> str:
    """The processor's name where there is no /proc/cpuinfo, or where it gives none (ARM)."""
    if platform.system() == "Darwin":
        try:
            return subprocess.run(["/usr/sbin/sysctl", "-n", "machdep.cpu.brand_string"], capture_output=True,
                                  text=True, timeout=5, check=True).stdout.strip()
        except (OSError, subprocess.SubprocessError):
            pass
    return platform.processor() or platform.machine()


def _memory_bytes() -> int | None:
    sizes = []
    try:
        sizes.append(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    except (AttributeError, ValueError, OSError):  # Windows has no sysconf
        pass
    for limit in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        text = _read(limit).strip()
        if text.isdigit():
            sizes.append(int(text))
    return min(sizes, default=None)


def _gpus() -> list[str]:
    if not paddle.device.is_compiled_with_cuda():
        return []
    try:
        return [paddle.device.cuda.get_device_name(index) for index in range(paddle.device.cuda.device_count())]
    except (RuntimeError, ValueError):  # a GPU build on a machine whose driver doesn't work
        return []


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
