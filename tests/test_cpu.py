"""The CPU settings: which processor gets which, and that they reach Paddle when a job of ours begins, and only then."""

import importlib.util
import json
import os
import platform
import subprocess
import sys

import pytest

from paddleslim_bilstm import cpu
from paddleslim_bilstm.cpu import SWITCH, physical_cores, wanted_settings

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


def test_hyper_threads_count_once(monkeypatch):
    monkeypatch.setattr(cpu, "_quotas", lambda: [])
    allowed = len(os.sched_getaffinity(0))
    assert physical_cores(cpuinfo("GenuineIntel", "avx2", allowed, threads_per_core=1)) == allowed
    assert physical_cores(cpuinfo("GenuineIntel", "avx2", allowed, threads_per_core=allowed)) == 1


@pytest.mark.parametrize(("files", "cores"), [
    ({"cpu.max": "150000 100000\n"}, [2]), ({"cpu.max": "400000 100000"}, [4]), ({"cpu.max": "max 100000"}, []),
    ({"cpu/cpu.cfs_quota_us": "50000\n", "cpu/cpu.cfs_period_us": "100000\n"}, [1]),
    ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, []), ({}, [])])
def test_a_containers_quota_is_rounded_up(files, cores, tmp_path):
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    assert cpu._quotas(tmp_path) == cores


def test_a_job_takes_no_more_cores_than_the_quota_or_than_paddle_was_told(monkeypatch):
    eight = [[number] for number in range(8)]
    monkeypatch.setattr(cpu, "_processors_by_core", lambda cpuinfo=None: eight)
    monkeypatch.delenv("FLAGS_paddle_num_threads", raising=False)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # as Paddle's import leaves it
    monkeypatch.setattr(cpu, "_quotas", lambda: [])
    assert physical_cores() == cpu.cores_to_use() == 8
    monkeypatch.setattr(cpu, "_quotas", lambda: [3])
    assert physical_cores() == cpu.cores_to_use() == 3 and wanted_settings()["OMP_NUM_THREADS"] == "3"
    monkeypatch.setattr(cpu.ranks, "on_this_machine", lambda: (1, 2))
    assert physical_cores() == 1  # of three cores for two ranks
    monkeypatch.setattr(cpu.ranks, "on_this_machine", lambda: (0, 1))
    for told, taken in (("2", 2), ("16", 3), ("0", 1), ("many", 3)):
        monkeypatch.setenv("FLAGS_paddle_num_threads", told)
        assert cpu.cores_to_use() == taken and physical_cores() == 3


OURS = ("OMP_NUM_THREADS", "FLAGS_paddle_num_threads", "KMP_BLOCKTIME", "MKL_DEBUG_CPU_TYPE", SWITCH)


def run_python(code, folder=None, **given):
    """Run code in a fresh interpreter whose environment has none of our settings but those given."""
    clean = {name: value for name, value in os.environ.items() if name not in OURS}
    done = subprocess.run([sys.executable, "-c", code], env={**clean, **given}, cwd=folder, capture_output=True,
                          text=True)
    assert done.returncode == 0, done.stderr
    return done


APPLY = "from paddleslim_bilstm.cpu import apply_cpu_settings; apply_cpu_settings()"


def environment_after(code, **given):
    """Return those of our variables that a fresh interpreter has in its environment after ``code``."""
    shown = f"; import os, json; print(json.dumps({{name: os.environ.get(name) for name in {OURS[:-1]}}}))"
    found = json.loads(run_python(code + shown, **given).stdout.splitlines()[-1])
    return {name: value for name, value in found.items() if value is not None}


def test_the_import_alone_leaves_the_environment_as_it_is():
    assert environment_after("import paddleslim_bilstm; from paddleslim_bilstm import Predictor") == {}
    assert environment_after("import paddleslim_bilstm", MKL_DEBUG_CPU_TYPE="3") == {"MKL_DEBUG_CPU_TYPE": "3"}


def test_zlib_is_loaded_before_paddle_can_bring_its_own():
    assert run_python("import sys, paddleslim_bilstm; print('zlib' in sys.modules)").stdout == "True\n"


@pytest.fixture(scope="module")
def paddle_brings_zlib():
    """Whether it does depends on Python and Paddle; it is seen by whether zlib crashes."""
    uses_zlib = "import paddle, zlib; zlib.decompress(zlib.compress(bytes(1000)))"
    return subprocess.run([sys.executable, "-c", uses_zlib], capture_output=True).returncode != 0


@pytest.mark.parametrize("first", ["paddle", "paddleslim_bilstm"])
def test_jobs_are_refused_where_paddle_has_brought_its_own_zlib(paddle_brings_zlib, first):
    said = run_python(f"""
import {first}
from paddleslim_bilstm import UserError, compress
from paddleslim_bilstm.finetune.finetune import finetune
for job in (compress, finetune):
    try:
        job({{"Global": {{}}}})
    except UserError as error:
        print(error)
""").stdout.splitlines()
    assert ["put `import paddleslim_bilstm`" in line for line in said] == [paddle_brings_zlib and first == "paddle"] * 2


@pytest.mark.parametrize("package", ["paddleslim", "paddlenlp"])
def test_a_script_may_import_paddle_first(package):
    if importlib.util.find_spec(package) is None:
        pytest.skip(f"without {package}")
    assert run_python(f"import paddle, {package}; print('imported')").stdout.endswith("imported\n")


def test_the_switch_applies_the_settings_at_import():
    assert environment_after("import paddleslim_bilstm", **{SWITCH: "1"}) == wanted_settings()


def test_what_the_user_has_set_stays():
    found = environment_after(APPLY, MKL_DEBUG_CPU_TYPE="3", OMP_NUM_THREADS="7")
    assert found == {**wanted_settings(), "MKL_DEBUG_CPU_TYPE": "3", "OMP_NUM_THREADS": "7"}


def test_settings_can_be_switched_off():
    assert environment_after(APPLY, **{SWITCH: "0"}) == {}


@pytest.mark.parametrize("arguments", [["compress"], ["finetune"]])
def test_the_command_line_says_once_what_it_has_set(tmp_path, arguments):
    (tmp_path / "run.yaml").write_text("Global: {train_file: absent.tsv, dev_file: absent.tsv, model_dir: teacher}\n"
                                       "Finetune: {model: absent}\nbert_to_bilstm: {}\n")
    code = f"from paddleslim_bilstm import cli; assert cli.main({[*arguments, 'run.yaml']}) == 2"
    told = [line for line in run_python(code, tmp_path).stderr.splitlines() if line.startswith("CPU settings")]
    assert len(told) == 1
    assert SWITCH in told[0] and all(f"{name}={value}" in told[0] for name, value in wanted_settings().items())


def test_autocompression_applies_them_for_our_sections_only(tmp_path):
    code = """
import os, paddleslim_bilstm
from paddleslim.auto_compression import AutoCompression
for config in (["QuantPost"], ["bert_to_bilstm"]):
    try:
        AutoCompression(model_dir="absent", train_dataloader=None, config=config, save_dir="out")
    except Exception:  # PaddleSlim, of the model
        pass
    print(os.environ.get("KMP_BLOCKTIME"))
"""
    assert run_python(code, tmp_path).stdout.splitlines()[-2:] == ["None", "0"]


PRODUCT = """
import zlib, numpy as np, paddle
paddle.set_device("cpu")
def product():
    left = paddle.to_tensor(np.random.default_rng(0).standard_normal((256, 256)).astype("float32"))
    return paddle.nn.functional.linear(left, left).numpy().tobytes().hex()
"""
NEEDS_MKL_PATH = pytest.mark.skipif("MKL_DEBUG_CPU_TYPE" not in wanted_settings(), reason="for AMD processors")


@pytest.fixture(scope="module")
def plain():
    """What a script computes that knows nothing of us."""
    return run_python(f"{PRODUCT}print(product())").stdout


def test_an_ordinary_paddle_script_computes_what_it_did_without_the_plugin(plain):
    assert run_python(f"import paddleslim_bilstm\n{PRODUCT}print(product())").stdout == plain


@NEEDS_MKL_PATH
def test_settings_count_after_paddle_has_loaded_but_not_yet_computed(plain):
    early = run_python(f"{APPLY}\n{PRODUCT}print(product())")
    late = run_python(f"{PRODUCT}{APPLY}\nprint(product())")
    assert late.stdout == early.stdout != plain and "take effect" not in late.stderr


@NEEDS_MKL_PATH
def test_a_warning_says_once_what_is_lost_when_paddle_has_computed_first():
    done = run_python(f"{PRODUCT}product()\n{APPLY}; apply_cpu_settings()\n"
                      "import os; print(os.environ.get('MKL_DEBUG_CPU_TYPE'))")
    assert done.stdout == "None\n"
    told = [line for line in done.stderr.splitlines() if "MKL_DEBUG_CPU_TYPE" in line]
    assert len(told) == 1 and SWITCH in told[0] and "slower" in told[0]


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
