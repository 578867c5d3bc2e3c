"""The short version of the fault harness; ``python tests/faults.py`` is the long one."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow
HARNESS = Path(__file__).with_name("faults.py")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks runs")
def test_killed_runs_and_damaged_caches_end_like_an_undisturbed_run():
    done = subprocess.run([sys.executable, str(HARNESS), "--short"], capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-8000:]
    counts = json.loads(done.stdout[done.stdout.index("{"):])
    assert counts["kills"] == 3 and counts["files with a flipped byte"] > 5 and counts["files cut"] > 5
