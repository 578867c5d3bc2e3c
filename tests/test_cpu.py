"""The CPU settings: which processor gets which, and that they reach a fresh interpreter before Paddle."""

import os
import platform
import subprocess
import sys

import pytest

from paddleslim_bilstm.cpu import physical_cores, wanted_settings

AVX512 = "avx2 avx512f avx512dq avx512bw avx512vl"


def cpuinfo(vendor, flags, logical=4, threads_per_core=2):
    return "\n\n".join(f"processor\t: {number}\nvendor_id\t: {vendor}\nphysical id\t: 0\n"
                       f"core id\t: {number // threads_per_core}\nflags\t\t: fpu {flags}" for number in range(logical))


@pytest.mark.parametrize("vendor, flags, kernel", [
    ("AuthenticAMD", AVX512, "7"),
    ("AuthenticAMD", "avx2", "5"),
    ("AuthenticAMD", "sse4_2", None),
    ("GenuineIntel", AVX512, None),
    ("GenuineIntel", "avx2", None),
])
def test_mkls_fast_path_is_asked_for_on_amd_only(vendor, flags, kernel):
    assert wanted_settings(cpuinfo(vendor, flags)).get("MKL_DEBUG_CPU_TYPE") == kernel


def test_hyper_threads_count_once():
    allowed = len(os.sched_getaffinity(0))
    assert physical_cores(cpuinfo("GenuineIntel", "avx2", allowed, threads_per_core=1)) == allowed
    assert physical_cores(cpuinfo("GenuineIntel", "avx2", allowed, threads_per_core=allowed)) == 1


def environment_after_import(**given):
    ours = ("OMP_NUM_THREADS", "FLAGS_paddle_num_threads", "FLAGS_enable_pir_api", "MKL_DEBUG_CPU_TYPE")
    clean = {name: value for name, value in os.environ.items() if name not in ours}
    code = "import os, sys, paddleslim_bilstm; print('zlib' in sys.modules, os.environ.get('FLAGS_enable_pir_api'), " \
           "os.environ.get('MKL_DEBUG_CPU_TYPE'))"
    done = subprocess.run([sys.executable, "-c", code], env={**clean, **given}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_settings_reach_a_fresh_interpreter():
    zlib_loaded, pir, kernel = environment_after_import()
    assert (zlib_loaded, pir) == ("True", "0")
    assert kernel == str(wanted_settings().get("MKL_DEBUG_CPU_TYPE"))


def test_what_the_user_has_set_stays():
    assert environment_after_import(MKL_DEBUG_CPU_TYPE="3")[2] == "3"


def test_settings_can_be_switched_off():
    assert environment_after_import(PADDLESLIM_BILSTM_CPU_SETTINGS="0")[1] == "None"


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc's allocator is what is told to keep memory")
def test_freed_memory_is_kept_for_the_next_step():
    code = """
import resource, sys, numpy as np
from paddleslim_bilstm.cpu import keep_freed_memory
if sys.argv[1] == "keep":
    keep_freed_memory()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    arrays = [np.ones(1 << 20, np.float32) for _ in range(20)]
    del arrays
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""
    faults = [int(subprocess.run([sys.executable, "-c", code, mode], capture_output=True, text=True, check=True).stdout)
              for mode in ("keep", "free")]
    assert faults[0] * 5 < faults[1]


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc's allocator is what is told to give memory back")
def test_freed_memory_goes_back_when_asked():
    code = """
import numpy as np
from pathlib import Path
from paddleslim_bilstm.cpu import give_back_freed_memory, keep_freed_memory
def resident():
    return int(Path("/proc/self/statm").read_text().split()[1])
keep_freed_memory()
arrays = [np.ones(1 << 18, np.float32) for _ in range(100)]
last = np.ones(1 << 10)
del arrays
kept = resident()
give_back_freed_memory()
print(kept - resident())
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(done.stdout) * 4096 > 80 << 20
