"""Where a run keeps its files, what it publishes, and how long its stages take."""

from __future__ import annotations

import logging
import os
import shutil
import time
from contextlib import contextmanager
from pathlib import Path
from typing import Iterator

from filelock import FileLock, Timeout

from .config import Config
from .errors import UserError
from .export.student_file import save_student
from .files import copy_whole, make_writable_folder
from .student.spec import StudentSpec
from .student.weights import Weights
from .tokens import TOKENIZER_FILES

CACHE_VARIABLE = "PADDLESLIM_BILSTM_CACHE"

_log = logging.getLogger(__name__)


def cache_root(setting: str | None = None) -> Path:
    """Return the folder of all caches: ``setting``, or the environment's, or ``~/.cache/paddleslim_bilstm``."""
    return Path(setting or os.environ.get(CACHE_VARIABLE) or Path.home() / ".cache" / "paddleslim_bilstm")


class RunFolder:
    """The folders of one run, as a context manager: they are this run's alone until its end.

    Attributes:
        save_dir: what the user gets.
        work_dir: for what is in the making; inside ``save_dir``, gone when the run is done.
        seconds: how long each stage took, in order.

    Raises:
        UserError: a folder can't be written, or another run is writing to ``save_dir``.
    """

    def __init__(self, settings: Config):
        self._settings = settings.global_
        self.save_dir = make_writable_folder(self._settings.save_dir, "Global.save_dir").resolve()
        self.work_dir = make_writable_folder(self.save_dir / "work", "Global.save_dir")
        self._cache_dir = make_writable_folder(cache_root(self._settings.cache_dir), "Global.cache_dir").resolve()
        self._lock = FileLock(self.save_dir / ".lock")  # the system frees it when a run is killed
        self.seconds: dict[str, float] = {}

    def __enter__(self) -> RunFolder:
        try:
            self._lock.acquire(timeout=0)
        except Timeout:
            raise UserError(f"Global.save_dir: another run is writing to {self.save_dir}; wait for its end, or name "
                            "another folder") from None
        return self

    def __exit__(self, *failure: object) -> None:
        (self.save_dir / ".lock").unlink(missing_ok=True)
        self._lock.release()

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Log and time a stage."""
        _log.info("%s ...", name)
        started = time.perf_counter()
        yield
        self.seconds[name] = round(time.perf_counter() - started, 2)

    def cache(self, name: str) -> Path:
        """Return the folder of one kind of cached files, which later runs find again."""
        return make_writable_folder(self._cache_dir / name, "Global.cache_dir")

    def step_dir(self, name: str) -> Path:
        """Return the new, empty folder of a step's model, ``steps/<name>``."""
        folder = self.save_dir / "steps" / name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        return folder

    @property
    def onnx_dir(self) -> Path:
        """The folder where ONNX files wait to be published."""
        return make_writable_folder(self.work_dir / "onnx", "Global.save_dir")

    def publish(self, final: Path, spec: StudentSpec, weights: Weights) -> None:
        """Put the final model, its ONNX files, the float student and the tokenizer files into ``save_dir``.

        ONNX files of an earlier run with other strategies are removed first.
        """
        for stale in self.save_dir.glob("*.onnx"):
            stale.unlink()
        tokenizer_dir = Path(self._settings.tokenizer_dir or self._settings.model_dir)
        tokenizer_files = [tokenizer_dir / name for name in TOKENIZER_FILES if (tokenizer_dir / name).is_file()]
        for file in (*final.iterdir(), *self.onnx_dir.iterdir(), *tokenizer_files):
            copy_whole(file, self.save_dir / file.name)
        save_student(self.save_dir, weights, spec)

    def clear(self) -> None:
        """Remove what was in the making."""
        shutil.rmtree(self.work_dir, ignore_errors=True)
