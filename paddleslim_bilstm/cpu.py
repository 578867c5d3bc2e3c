"""CPU settings that Paddle must find before it multiplies its first matrix.

Paddle's bundled MKL takes its slow path on AMD processors, and Paddle starts with one thread; together that costs a
factor of four in training and labelling. A job of ours applies them when it begins; importing the package leaves the
environment alone. ``PADDLESLIM_BILSTM_CPU_SETTINGS=1`` applies them at the import, ``=0`` never. What the user has set
is never overwritten, and ``FLAGS_paddle_num_threads`` also says how many cores a job takes.
"""

from __future__ import annotations

import ctypes
import functools
import gc
import logging
import os
import sys
from contextlib import suppress
from pathlib import Path

from . import ranks

_log = logging.getLogger(__name__)

SWITCH = "PADDLESLIM_BILSTM_CPU_SETTINGS"
AT_IMPORT, NEVER = "1", "0"

_THREADS = "FLAGS_paddle_num_threads"
_MKL, _MKL_PATH = "libmklml_intel.so", "MKL_DEBUG_CPU_TYPE"
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # malloc.h
_LARGEST_MMAP_THRESHOLD_BYTES = 32 << 20  # that glibc accepts
_KEPT_BYTES = 512 << 20


def apply_cpu_settings() -> dict[str, str]:
    """Put this machine's settings into ``os.environ`` and return those that were added; doing it again adds none.

    They count from then on in the whole process, whether Paddle is loaded or not; but MKL chooses its path at its first
    product, so after that the path is left out, with a warning (once) that tells what it costs.
    """
    if os.environ.get(SWITCH) == NEVER:
        return {}
    keep_to_own_cores(*ranks.on_this_machine())
    missing = {name: value for name, value in wanted_settings().items() if name not in os.environ}
    if _MKL_PATH in missing and _mkl_has_computed():
        _warn_of_slow_path(missing.pop(_MKL_PATH))
    os.environ.update(missing)
    if "paddle" in sys.modules and _THREADS in missing:  # Paddle has read its flags by now
        use_all_cores()
    if missing:
        _log.info("CPU settings for this process: %s (%s=%s leaves them out)",
                  " ".join(f"{name}={value}" for name, value in missing.items()), SWITCH, NEVER)
    return missing


def _mkl_has_computed() -> bool:
    """Return whether Paddle's MKL is loaded: Paddle does that at its first product, and MKL then looks around."""
    if "paddle" not in sys.modules:
        return False
    try:
        ctypes.CDLL(_MKL, mode=os.RTLD_NOLOAD)
    except OSError:
        return False
    return True


@functools.lru_cache(maxsize=None)
def _warn_of_slow_path(kernel: str) -> None:
    _log.warning("Paddle has computed in this process before, so %s=%s can't take effect: training and labelling on "
                 "the CPU may be several times slower. Export it before Python starts, or set %s=%s and import "
                 "paddleslim_bilstm first", _MKL_PATH, kernel, SWITCH, AT_IMPORT)


def wanted_settings(cpuinfo: str | None = None, cores: int | None = None) -> dict[str, str]:
    """Return the environment variables for a processor.

    Args:
        cpuinfo: the text of ``/proc/cpuinfo``; this machine's by default.
        cores: how many to use; those of `cores_to_use` by default.
    """
    cpuinfo = _read_cpuinfo() if cpuinfo is None else cpuinfo
    threads = str(cores or cores_to_use(cpuinfo))
    settings = {"OMP_NUM_THREADS": threads, _THREADS: threads,
                "KMP_BLOCKTIME": "0"}  # threads that wait don't spin, which would slow down whoever shares the cores
    flags = _cpu_flags(cpuinfo)
    if "AuthenticAMD" in cpuinfo:
        if {"avx512f", "avx512dq", "avx512bw", "avx512vl"} <= flags:
            settings[_MKL_PATH] = "7"
        elif "avx2" in flags:
            settings[_MKL_PATH] = "5"
    return settings


def physical_cores(cpuinfo: str | None = None) -> int:
    """Return how many physical cores this process may use; hyper-threads count once.

    It takes no more than its part, beside other ranks of this machine, of the quota that a container has.
    """
    sharing = ranks.on_this_machine()[1]
    return min([len(_processors_by_core(cpuinfo)), *(max(quota // sharing, 1) for quota in _quotas())])


def cores_to_use(cpuinfo: str | None = None) -> int:
    """Return how many cores a job takes: all that it may use, or ``FLAGS_paddle_num_threads`` where that is fewer.

    ``OMP_NUM_THREADS`` tells nothing: Paddle sets it to 1 as it is imported.
    """
    wanted = os.environ.get(_THREADS, "")
    cores = physical_cores(cpuinfo)
    return min(cores, max(int(wanted), 1)) if wanted.isdigit() else cores


def _quotas(root: Path = Path("/sys/fs/cgroup")) -> list[int]:
    """Return how many cores' time the container gets, rounded up, as `docker run --cpus` sets it; else nothing."""
    found = []
    for files in (("cpu.max",), ("cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us")):  # cgroups 2, cgroups 1
        with suppress(OSError, ValueError):  # not there, or "max"
            quota, period = map(int, " ".join((root / file).read_text() for file in files).split())
            if quota > 0 < period:
                found.append(-(-quota // period))
    return found


def _processors_by_core(cpuinfo: str | None = None) -> list[list[int]]:
    """Return the numbers of the processors that this process may use, those of a core together."""
    cpuinfo = _read_cpuinfo() if cpuinfo is None else cpuinfo
    allowed = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set(range(os.cpu_count() or 1))
    cores: dict[tuple, list[int]] = {}
    for block in cpuinfo.split("\n\n"):
        fields = dict(line.split(":", 1) for line in block.splitlines() if ":" in line)
        fields = {name.strip(): value.strip() for name, value in fields.items()}
        if fields.get("processor", "").isdigit() and int(fields["processor"]) in allowed:
            core = fields.get("physical id"), fields.get("core id", fields["processor"])
            cores.setdefault(core, []).append(int(fields["processor"]))
    return list(cores.values()) or [[processor] for processor in sorted(allowed)]


@functools.lru_cache(maxsize=None)
def keep_to_own_cores(part: int, parts: int) -> None:
    """Keep this process, one of ``parts`` on this machine, to its own cores, where there is one for each; once.

    Processes that all take all cores wait for each other's threads and are several times slower.
    """
    cores = _processors_by_core()
    if parts > 1 and len(cores) >= parts and hasattr(os, "sched_setaffinity"):
        own = cores[part * len(cores) // parts:(part + 1) * len(cores) // parts]
        os.sched_setaffinity(0, [processor for core in own for processor in core])


def use_all_cores(at_once: int = 1) -> None:
    """Share all cores that a job takes among ``at_once`` operators that run at the same time.

    It is needed before training in any case: every Paddle Inference run leaves Paddle's matrix products one thread.
    """
    from paddle.base import core
    core.set_num_threads(max(1, cores_to_use() // at_once))


def keep_freed_memory() -> None:
    """Have glibc keep what Paddle frees: a batch's arrays otherwise go back to the kernel every time.

    Their pages, zeroed and mapped anew in each batch, cost a seventh of a training step.
    """
    _call_glibc("mallopt", _M_MMAP_THRESHOLD, _LARGEST_MMAP_THRESHOLD_BYTES)
    _call_glibc("mallopt", _M_TRIM_THRESHOLD, _KEPT_BYTES)


def give_back_freed_memory() -> None:
    """Have glibc give back to the kernel what was freed so far: several hundred megabytes after a long stage."""
    gc.collect()
    trim_heap()


def trim_heap() -> None:
    """Do that without looking for garbage first, which takes longer by far."""
    _call_glibc("malloc_trim", 0)


def _call_glibc(name: str, *arguments: int) -> None:
    try:
        function = getattr(ctypes.CDLL(None), name)
    except (AttributeError, OSError, TypeError):  # no glibc
        return
    function(*arguments)


def has_fast_bf16() -> bool:
    """Return whether the processor multiplies bfloat16 matrices in hardware (AVX-512 BF16 or AMX)."""
    return bool({"avx512_bf16", "amx_bf16"} & _cpu_flags(_read_cpuinfo()))


def _cpu_flags(cpuinfo: str) -> set[str]:
    for line in cpuinfo.splitlines():
        if line.startswith("flags"):
            return set(line.split(":", 1)[1].split())
    return set()


def _read_cpuinfo() -> str:
    path = Path("/proc/cpuinfo")
    return path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
