"""Where a run keeps its files, what it publishes, and how long its stages take."""

from __future__ import annotations

import logging
import os
import shutil
import time
from contextlib import contextmanager
from pathlib import Path
from typing import Iterator

from .config import Config
from .export.student_file import save_student
from .files import copy_whole, make_writable_folder
from .student.spec import StudentSpec
from .student.weights import Weights
from .tokens import TOKENIZER_FILES

CACHE_VARIABLE = "PADDLESLIM_BILSTM_CACHE"

_log = logging.getLogger(__name__)


class RunFolder:
    """The folders of one run.

    Attributes:
        save_dir: what the user gets.
        work_dir: for what is in the making; inside ``save_dir``, gone when the run is done.
        seconds: how long each stage took, in order.

    Raises:
        UserError: a folder can't be written.
    """

    def __init__(self, settings: Config):
        self._settings = settings.global_
        self.save_dir = make_writable_folder(self._settings.save_dir, "Global.save_dir").resolve()
        self.work_dir = make_writable_folder(self.save_dir / "work", "Global.save_dir")
        cache = (self._settings.cache_dir or os.environ.get(CACHE_VARIABLE)
                 or Path.home() / ".cache" / "paddleslim_bilstm")
        self._cache_dir = make_writable_folder(cache, "Global.cache_dir").resolve()
        self.seconds: dict[str, float] = {}

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
