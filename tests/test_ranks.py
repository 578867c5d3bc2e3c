"""Several ranks: what they make is what one makes, whoever is killed on the way; what goes wrong is told in a line."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from paddleslim_bilstm import ranks
from paddleslim_bilstm.cpu import _processors_by_core, keep_to_own_cores

HARNESS = Path(__file__).with_name("ranked_runs.py")
forks = pytest.mark.skipif(not hasattr(os, "fork"), reason="forks runs")


def stories_of(*arguments):
    done = subprocess.run([sys.executable, str(HARNESS), *arguments], capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr[-8000:]
    return json.loads(done.stdout[done.stdout.rindex('{"one"'):])


@pytest.fixture(scope="module")
def stories():
    return stories_of()


def assert_alike(some, one):
    assert some["codes"] == [0] * len(some["codes"]), some["texts"]
    assert some["files"] == one["files"] and any("chunk-00002" in name for name in one["files"])
    assert some["weights"].keys() == one["weights"].keys()
    for name, weight in one["weights"].items():
        np.testing.assert_allclose(some["weights"][name], weight, atol=1e-4, err_msg=name)


def errors_in(text):
    return [line for line in text.splitlines() if line.startswith("error: ")]


@forks
def test_two_ranks_make_what_one_makes(stories):
    assert_alike(stories["two"], stories["one"])
    first, second = stories["two"]["texts"]
    assert "distil ..." in first and "Model and report: " in first
    assert "..." not in second and "Model and report" not in second


@forks
def test_an_error_of_any_rank_ends_all_with_one_line(stories):
    assert stories["failing"]["codes"] == [2, 2] and not stories["failing"]["weights"]
    for text in stories["failing"]["texts"]:
        line, = errors_in(text)
        assert line.startswith("error: rank 1 of 2 on ") and "answers nan to sentence 50" in line


@forks
def test_ranks_that_dont_meet_say_so_within_the_time_limit(stories):
    first, second = stories["missing"]
    assert first["codes"] == second["codes"] == stories["taken"]["codes"] == [2]
    assert "rank 0 of 2: not all other ranks have come" in errors_in(first["texts"][0])[0]
    assert "rank 1 of 2: rank 0 doesn't answer" in errors_in(second["texts"][0])[0]
    line, = errors_in(stories["taken"]["texts"][0])
    assert "rank 0 of 2: can't listen at 127.0.0.1:" in line and "Bind network" in line


@forks
@pytest.mark.slow
def test_killed_ranks_and_fewer_ranks_go_on_to_the_same_end():
    found = stories_of("killed")
    for story in found["killed"][:-1]:
        assert -signal.SIGKILL in story["codes"] and 0 not in story["codes"] and not story["weights"]
    assert_alike(found["killed"][-1], found["one"])


def test_ranks_of_a_machine_are_known_with_both_launchers_of_paddle(monkeypatch):
    for name in ("PADDLE_LOCAL_SIZE", "PADDLE_TRAINERS_NUM", "PADDLE_TRAINER_ID"):
        monkeypatch.delenv(name, raising=False)
    assert (ranks.count(), ranks.rank(), ranks.on_this_machine(), ranks.is_first()) == (1, 0, (0, 1), True)
    monkeypatch.setenv("PADDLE_TRAINERS_NUM", "3")
    monkeypatch.setenv("PADDLE_TRAINER_ID", "2")
    monkeypatch.setenv("PADDLE_TRAINER_ENDPOINTS", "a:1,b:1,b:2")
    monkeypatch.setenv("PADDLE_CURRENT_ENDPOINT", "b:2")
    assert (ranks.count(), ranks.rank(), ranks.on_this_machine(), ranks.is_first()) == (3, 2, (1, 2), False)
    monkeypatch.setenv("PADDLE_LOCAL_SIZE", "4")
    monkeypatch.setenv("PADDLE_LOCAL_RANK", "3")
    assert ranks.on_this_machine() == (3, 4)


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="no affinity")
def test_ranks_of_a_machine_share_its_cores(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2, 3, 4, 5})
    monkeypatch.setattr("paddleslim_bilstm.cpu._read_cpuinfo", lambda: "\n\n".join(
        f"processor : {number}\nphysical id : 0\ncore id : {number % 3}" for number in range(6)))
    assert _processors_by_core() == [[0, 3], [1, 4], [2, 5]]
    kept = []
    monkeypatch.setattr(os, "sched_setaffinity", lambda _, processors: kept.append(processors))
    for part, parts in ((0, 1), (0, 2), (1, 2), (3, 4)):
        keep_to_own_cores.__wrapped__(part, parts)
    assert kept == [[0, 3], [1, 4, 2, 5]]
