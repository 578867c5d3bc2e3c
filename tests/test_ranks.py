"""Several ranks: what they make is what one makes, whoever is killed on the way; what goes wrong is told in a line."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import paddle
import pytest
from student_reference import random_student
from test_pairs_student import random_pairs
from test_student import VOCABULARY, adam, plan, random_sentences

from paddleslim_bilstm import pipeline, ranks
from paddleslim_bilstm.cpu import _processors_by_core, keep_to_own_cores
from paddleslim_bilstm.student.losses import logit_mse
from paddleslim_bilstm.student.program import SharedTrainingProgram, TrainingProgram, TrainingSet

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
    own, = one["caches"]
    assert all(cache == own for cache in some["caches"]) and any("chunk-00002" in name for name in own)
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
def test_strategies_of_paddleslim_run_in_the_first_rank(stories):
    """Which alone rehearses them: PaddleSlim saves nothing in others."""
    assert stories["pruned"]["codes"] == [0, 0], stories["pruned"]["texts"]
    kept = np.mean([np.not_equal(row, 0).mean() for row in stories["pruned"]["weights"]["embedding"]])
    assert 0 < kept < 0.6


@forks
def test_ranks_without_a_folder_in_common_send_each_other_what_is_cached(stories):
    for story in stories["apart"]:  # in the second, a rank that labelled anything would have failed
        assert len(story["caches"]) == 2
        assert_alike(story, stories["one"])


@forks
def test_a_rank_that_falls_silent_is_missed(stories):
    labelling, training = stories["silent"]
    assert labelling["codes"] == [1, -signal.SIGKILL] and training["codes"] == [-signal.SIGKILL, 1]
    line, = errors_in(labelling["texts"][0])
    assert "rank 1 of 2 at 127.0.0.1:" in line and "not been heard of for 8 s" in line and "stage 'label'" in line


@forks
def test_an_error_of_any_rank_ends_all_with_one_line(stories):
    assert stories["failing"]["codes"] == [2, 2] and not stories["failing"]["weights"]
    for text in stories["failing"]["texts"]:
        line, = errors_in(text)
        assert line.startswith("error: rank 1 of 2 on ") and "answers nan to sentence 50" in line


@forks
def test_two_ranks_fine_tune_the_same_teacher(stories):
    one, two = stories["finetuned"]
    (alone,), both = one["weights"], two["weights"]
    assert two["codes"] == [0, 0] and len(both) == 2 and alone, two["texts"]
    assert both[0] == both[1] and both[0].keys() == alone.keys()
    for name, weight in alone.items():
        np.testing.assert_allclose(both[0][name], weight, atol=1e-3, err_msg=name)


@forks
def test_ranks_that_dont_meet_say_so_within_the_time_limit(stories):
    first, second = stories["missing-0"], stories["missing-1"]
    assert first["codes"] == second["codes"] == stories["taken"]["codes"] == [2]
    assert "rank 0 of 2: not all other ranks have come" in errors_in(first["texts"][0])[0]
    assert "rank 1 of 2: rank 0 doesn't answer" in errors_in(second["texts"][0])[0]
    line, = errors_in(stories["taken"]["texts"][0])
    assert "rank 0 of 2: can't listen at 127.0.0.1:" in line and "Address already in use" in line


@forks
@pytest.mark.slow
def test_killed_ranks_and_fewer_ranks_go_on_to_the_same_end():
    found = stories_of("killed")
    for story in found["killed"][:-1]:
        assert -signal.SIGKILL in story["codes"] and 0 not in story["codes"] and not story["weights"]
    assert_alike(found["killed"][-1], found["one"])


class Sums:
    """In place of the sum over the ranks: each rank's array is kept, until the sum of all is handed out."""

    def __init__(self, monkeypatch):
        self.count, self.arrays, self.patch = 3, [], monkeypatch
        monkeypatch.setattr(ranks, "count", lambda: self.count)

    def step(self, program, *arguments):
        self.arrays = []
        for rank in range(self.count):
            self.patch.setattr(ranks, "rank", lambda rank=rank: rank)
            self.patch.setattr(ranks, "sum_of_all", self.keep)
            with pytest.raises(StopIteration):
                program.step(*arguments)
        self.patch.setattr(ranks, "sum_of_all", lambda _: np.sum(self.arrays, axis=0))
        return program.step(*arguments)

    def keep(self, array):
        self.arrays.append(array)
        raise StopIteration


@pytest.mark.parametrize("pairs, sizes, projected", [
    (False, {}, False), (False, {}, True), (True, {}, False), (False, {"num_layers": 2}, False),
    (True, {"matches": True}, True),
    (True, {"encoder": "bigru", "pooling": "attention"}, True)])
def test_the_parts_of_a_batch_add_up_to_its_step(in_old_programs, monkeypatch, pairs, sizes, projected):
    """With dropout of the embedding, labels and hints beside logits, and batches too small for all ranks."""
    paddle.enable_static()
    weights, spec = random_student(vocab=VOCABULARY, pairs=pairs, **sizes)
    sentences = (random_pairs if pairs else random_sentences)(40, *(() if pairs else [np.random.default_rng(0)]))
    rng = np.random.default_rng(1)
    data = TrainingSet(sentences, rng.normal(0, 1, (40, 3)).astype(np.float32), rng.integers(0, 3, 40),
                       hints=rng.integers(-90, 90, (40, 5)).astype(np.int8) if projected else None)
    planned = plan(4, alpha=0.3, hint_weight=0.5, dropout=0.0 if "num_layers" in sizes else 0.3)
    found = []
    for program in (TrainingProgram, SharedTrainingProgram):
        with paddle.static.scope_guard(paddle.static.Scope()), monkeypatch.context() as patch:
            rows_count = len(weights["embedding"])
            base = np.eye(rows_count, 2 * spec.embed_dim, dtype=np.float32) if projected else None
            run, sums = program(spec, weights, planned, logit_mse, adam, base, rows_count,
                                5 if projected else 0), Sums(patch)
            step = run.step if program is TrainingProgram else lambda *arguments: sums.step(run, *arguments)  # noqa: B023
            losses = [step(data, rows, number) for number, rows in enumerate(np.split(np.arange(40), [17, 36, 38]))]
            found.append((losses, run.weights(), sorted(run.state())))
    (losses, whole, names), (shared_losses, shared, shared_names) = found
    np.testing.assert_allclose(shared_losses, losses, rtol=1e-4)
    assert names == shared_names  # so that either goes on from the other's checkpoint
    for name, weight in whole.items():
        assert abs(weight - weights[name]).max() > 1e-3
        np.testing.assert_allclose(shared[name], weight, atol=1e-4, err_msg=name)


class Store:
    """In place of rank 0's: it answers one message, or none, or breaks off."""

    def __init__(self, said=None, broken=False):
        self.said, self.broken = said, broken

    def add(self, *_):
        if self.broken:
            raise RuntimeError("recv: Interrupted system call")
        return int(self.said is not None)

    def get(self, _):
        return json.dumps(self.said).encode()


@pytest.mark.parametrize("first, said, message, code", [
    (True, {"message": "rank 1 of 2 on here: answers nan", "code": 2}, "answers nan", 2),
    (True, None, "another rank has gone", 1), (False, {"message": "unheard", "code": 2}, "rank 0 has gone", 1)])
def test_a_call_that_a_signal_breaks_off_still_finds_who_failed(first, said, message, code, monkeypatch):
    monkeypatch.setattr(ranks, "is_first", lambda: first)
    monkeypatch.setattr(ranks, "_connected", lambda *_: Store(said))
    monkeypatch.setattr(ranks, "_meet", lambda: None)
    monkeypatch.setattr(ranks._Meeting, "store", Store(broken=True))
    found = ranks._told_in(Store(broken=True))
    assert message in str(found) and found.code == code
    with pytest.raises(ranks.OtherRankFailed, match=message):
        ranks._ask("add", "ranks/1", 1)


def test_each_rank_has_a_callback_where_the_first_has_one(monkeypatch):
    def mine(*_):
        return 1.0
    for of_first, given, found in ((True, mine, mine), (False, mine, None), (False, None, None)):
        monkeypatch.setattr(ranks, "of_first", lambda make, answer=of_first: answer)
        assert pipeline._as_in_first(given) is found
    monkeypatch.setattr(ranks, "of_first", lambda make: True)
    assert callable(pipeline._as_in_first(None))


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
