"""What all tests share."""

from __future__ import annotations

import copy
import gc
import logging
import os
import shutil
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from reviews import write_reviews
from teachers import make_tiny_teacher

from paddleslim_bilstm.cpu import apply_cpu_settings

apply_cpu_settings()  # before a test computes anything; the processes that tests start inherit them


TESTS = str(Path(__file__).parent)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_call():
    """A test that imports PaddleNLP itself is skipped where it isn't installed; the package must do without."""
    _skip_without_paddlenlp((yield))


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_setup():
    _skip_without_paddlenlp((yield))


def _skip_without_paddlenlp(outcome) -> None:
    error = outcome.excinfo[1] if outcome.excinfo else None
    if isinstance(error, ModuleNotFoundError) and (error.name or "").split(".")[0] == "paddlenlp":
        files = [frame.filename for frame in traceback.extract_tb(error.__traceback__)]
        own = [file for file in files if file.startswith(TESTS) or "paddleslim_bilstm" in Path(file).parts]
        if own[-1].startswith(TESTS):
            outcome.force_exception(pytest.skip.Exception("needs PaddleNLP", _use_item_location=True))


@pytest.fixture
def in_old_programs():
    """For tests that build programs of their own with ``paddle.static``, as a callback of ours finds Paddle."""
    from paddleslim_bilstm.old_programs import old_programs
    with old_programs():
        yield


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with ``data/`` and ``teachers/``: $PADDLESLIM_BILSTM_TEST_DATA, or ``shared`` beside the checkout."""
    root = Path(__file__).resolve().parents[1]
    candidates = [os.environ.get("PADDLESLIM_BILSTM_TEST_DATA"), root.parent / "shared", root / "shared"]
    for folder in map(Path, filter(None, candidates)):
        if (folder / "data").is_dir() and (folder / "teachers").is_dir():
            return folder
    pytest.skip("needs the folder with data/ and teachers/; name it in PADDLESLIM_BILSTM_TEST_DATA")


@pytest.fixture(scope="module", autouse=True)
def quick_collections():
    """A run collects garbage a dozen times: what imports and earlier modules have left need not be gone through."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def messages():
    """The command line shows messages by itself, and does so from then on: later tests look for them elsewhere."""
    logger = logging.getLogger("paddleslim_bilstm")
    before = logger.handlers[:], logger.level, logger.propagate
    yield
    logger.handlers, logger.level, logger.propagate = before


@pytest.fixture(scope="session", autouse=True)
def quick_measuring():
    """Speed figures from the fewest sentences: what they are depends on the machine, and no test of a run looks."""
    from paddleslim_bilstm.report import measure as latency
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(latency, "_BUDGET_S", 0.01)
        patch.setattr(latency, "_FEWEST_SENTENCES", 5)
        yield


class Ended(Exception):
    """A run has come as far as a test looks."""


@pytest.fixture
def ends_before(monkeypatch):
    """``ends_before(name)``: runs end with `Ended` in place of that stage from now on; returns those they came through.
    """
    from paddleslim_bilstm.run import RunFolder
    stage = RunFolder.stage

    def end_before(last: str) -> list[str]:
        passed = []

        def stage_or_end(run, name, *arguments, **options):
            if name == last:
                raise Ended(name)
            passed.append(name)
            return stage(run, name, *arguments, **options)
        monkeypatch.setattr(RunFolder, "stage", stage_or_end)
        return passed
    return end_before


class TinyTeachers:
    """Tiny teachers that are made once in a session: ``tiny_teacher(kind, **options)`` as ``make_tiny_teacher``.

    Whoever changes a file copies the folder first; at the session's end all are as they were made.
    """

    def __init__(self, root: Path):
        self._root, self._made = root, {}

    def __call__(self, kind: str = "paddlenlp", **options: Any) -> Path:
        key = repr((kind, sorted(options.items())))
        if key not in self._made:
            folder = make_tiny_teacher(self._root / f"{kind}{len(self._made)}", kind, **options)
            self._made[key] = folder, contents(folder)
        return self._made[key][0]

    def seed(self, cache: Path, teacher: Path) -> Path:
        """Put what a run would convert ``teacher`` to into the folder of a run's cache, and return that folder."""
        from paddleslim_bilstm.teacher import load_teacher
        copy = load_teacher(teacher, self._root / "copies").prefix.parent
        shutil.copytree(copy, cache / "teachers" / copy.name, dirs_exist_ok=True)
        return cache

    def check(self) -> None:
        for folder, before in self._made.values():
            assert contents(folder) == before, f"a test has changed {folder}, which others read"


def contents(folder: Path) -> dict[str, bytes]:
    """Return the files below ``folder`` by their paths in it."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in Path(folder).rglob("*") if path.is_file()}


@pytest.fixture(scope="session")
def tiny_teacher(tmp_path_factory):
    """The session's `TinyTeachers`."""
    teachers = TinyTeachers(tmp_path_factory.mktemp("tiny_teachers"))
    yield teachers
    teachers.check()


@dataclass(frozen=True)
class FinishedRun:
    """A run that many tests look at and none changes: its config, its result and the cache that it has filled."""

    config: dict[str, Any]
    result: Any
    cache: Path

    def copy_to(self, folder: Path) -> dict[str, Any]:
        """Copy output and cache to ``folder/out`` and ``folder/cache``; return the config of the same run there."""
        config = copy.deepcopy(self.config)
        config["Global"].update(save_dir=str(folder / "out"), cache_dir=str(folder / "cache"))
        shutil.copytree(self.result.save_dir, folder / "out")
        shutil.copytree(self.cache, folder / "cache")
        return config


@pytest.fixture(scope="session")
def class_run(tiny_teacher, review_files, tmp_path_factory) -> FinishedRun:
    """Two classes from files, with all that ``compress`` makes without PaddleSlim's own strategies."""
    from paddleslim_bilstm import compress
    folder = tmp_path_factory.mktemp("class_run")
    teacher = tiny_teacher("huggingface")
    config = {"Global": {"model_dir": str(teacher), "train_file": str(review_files / "train.tsv"),
                         "dev_file": str(review_files / "dev.tsv"), "save_dir": str(folder / "out"),
                         "cache_dir": str(tiny_teacher.seed(folder / "cache", teacher)), "max_seq_length": 64},
              "bert_to_bilstm": {"student": {"embed_dim": 16, "hidden_size": 16}},
              "DataAugmentation": {"n_iter": 2}, "TrainConfig": {"epochs": 2, "eval_iter": 5},
              "QuantBiLSTM": {"max_accuracy_drop": 0.1}}
    return FinishedRun(config, compress(config), folder / "cache")


@pytest.fixture(scope="session")
def review_files(tmp_path_factory) -> Path:
    """A folder with ``train.tsv`` and ``dev.tsv``, which no test changes."""
    return write_reviews(tmp_path_factory.mktemp("reviews"))
