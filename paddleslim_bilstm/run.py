"""Where a run keeps its files, what it publishes, and how long its stages take."""

from __future__ import annotations

import logging
import os
import time
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Callable, Iterator, TypeVar

from filelock import FileLock, Timeout

try:
    import fcntl
except ModuleNotFoundError:  # on Windows
    fcntl = None

from . import ranks
from .cpu import give_back_freed_memory
from .errors import UserError
from .storage import (
    checksum,
    copy_whole,
    make_writable_folder,
    read_json,
    remove,
    remove_leftovers,
    replace_folder,
    sync_folder,
)
from .student.spec import MODEL_NAME, ONNX_FILES, READING_FILES, SPEC_FILE, TEACHER_TOKENS, WORDS_FILE, StudentSpec
from .tokens import TOKENIZER_FILES, copy_tokenizer, has_tokenizer, load_tokenizer

if TYPE_CHECKING:
    from .config import Config
    from .student.weights import Weights

CACHE_VARIABLE = "PADDLESLIM_BILSTM_CACHE"
CACHE_KINDS = ("finetune", "teachers", "transfer_sets", "labels", "students")
FRESH = "fresh"  # beside them: what runs that started over have computed so far
WORK_FOLDER = ".paddleslim_bilstm.work"  # in ``save_dir``, of a run that isn't over
REPORT_FILES = ("report.json", "report.md", "report.html", "report.png")
CARD_FILE, CARD_TAG = "README.md", "paddleslim-bilstm"  # the model card, and what is among its tags
_PADDLE_FILES = (".pdmodel", ".pdiparams")

_Made = TypeVar("_Made")
_log = logging.getLogger(__name__)


def cache_root(setting: str | None = None) -> Path:
    """Return the folder of all caches: ``setting``, or the environment's, or ``~/.cache/paddleslim_bilstm``."""
    named = setting or os.environ.get(CACHE_VARIABLE)
    return Path(named).expanduser() if named else Path.home() / ".cache" / "paddleslim_bilstm"


@contextmanager
def cache_in_use(root: Path, to_clear: bool = False) -> Iterator[None]:
    """Keep ``paddleslim-bilstm cache clear`` away from the caches in ``root``; one that is at work is waited for.

    The folder itself is locked, so that nothing is left there. Windows can't do that, nor can some shared disks, where
    nobody is kept away; on a network's disk those on other machines aren't.

    Args:
        to_clear: be the one who clears.

    Raises:
        UserError: ``to_clear``, and a run is using the caches.
    """
    with ExitStack() as stack:
        if fcntl is not None:
            with suppress(OSError):
                place = os.open(root, os.O_RDONLY)
                stack.callback(os.close, place)  # which frees the lock, as the end of a process does
                try:
                    fcntl.flock(place, fcntl.LOCK_EX | fcntl.LOCK_NB if to_clear else fcntl.LOCK_SH)
                except BlockingIOError:
                    raise UserError(f"{root}: a run is using what is cached there; clear it when that is over") \
                        from None
        yield


def published_name(model_filename: str | None) -> str:
    """Return what the final Paddle model is called, without suffix: by PaddleSlim's rule, as the teacher is.

    Examples: ``None -> "model"``, ``"inference.pdmodel" -> "inference"``, ``"__model__" -> "__model__"``.
    """
    path = Path(model_filename or MODEL_NAME)
    return path.stem if path.suffix in (".pdmodel", ".json", ".onnx") else path.name


class RunFolder:
    """The folders of one run, as a context manager: they are this run's alone, of all its ranks, until its end.

    Args:
        fresh: start over: take nothing from the cache, and in the end replace what this run would have taken. A run
            that is killed goes on with what it has computed itself.

    Attributes:
        save_dir: what the user gets, all of it or nothing.
        work_dir: for what is in the making; inside ``save_dir``, gone when the run is done.
        seconds: how long each stage took, in order.

    Raises:
        UserError: a folder can't be written, another run is writing to ``save_dir``, or it is the teacher's, or holds
            what is others' and would be replaced.
    """

    def __init__(self, settings: Config, fresh: bool = False):
        self._settings = settings.global_
        self._reads_words = settings.distill.student.vocabulary != TEACHER_TOKENS
        self.save_dir = make_writable_folder(self._settings.save_dir, "Global.save_dir").resolve()
        if self.save_dir in [Path(folder).resolve() for folder in self._settings.teacher_folders]:
            raise UserError(f"Global.save_dir: {self.save_dir} is the teacher's folder, whose files the student's "
                            "would replace; name another one")
        self.work_dir = self.save_dir / WORK_FOLDER
        self._model_name = published_name(self._settings.model_filename)
        self.cache_dir = make_writable_folder(cache_root(self._settings.cache_dir), "Global.cache_dir").resolve()
        self._fresh, self._own_cache = fresh, self.cache_dir / FRESH / checksum(str(self.save_dir))
        self._caches = self.cache_dir
        self._lock = FileLock(self.save_dir / ".lock")  # the system frees it when a run is killed
        self.seconds: dict[str, float] = {}

    def __enter__(self) -> RunFolder:
        if ranks.is_first():
            self._take()
        ranks.share_cache(self.cache_dir)
        self._own_cache = self._own_cache.with_name(ranks.of_first(lambda: self._own_cache.name))
        if ranks.keeps_cache():
            self._tidy_cache()
        ranks.wait("folders are ready")
        starts_over = ranks.of_first(self._own_cache.is_dir)
        self._caches = self._own_cache if starts_over else self.cache_dir
        return self

    def _take(self) -> None:
        """Keep other runs away, and clear up what killed ones have left."""
        try:
            self._lock.acquire(timeout=0)
        except Timeout:
            raise UserError(f"Global.save_dir: another run is writing to {self.save_dir}; wait for its end, or name "
                            "another folder") from None
        if not self._earlier_model() and not self.work_dir.exists():
            try:
                self._check_nothing_is_lost()
            except UserError:
                self.__exit__()
                raise
        if self._fresh:
            remove(self.work_dir)
        for half_made in (self._steps_dir, self.onnx_dir, self.final_dir):
            remove(half_made)
            make_writable_folder(half_made, "Global.save_dir")

    def _check_nothing_is_lost(self) -> None:
        """Refuse a ``save_dir``, where no run has published, with files in it that this one would replace, or a model.

        A program and its parameters alone, ``model.pdmodel`` and ``model.pdiparams``, PaddleSlim replaces likewise.
        """
        from .student.weights import WEIGHTS_FILE  # here: the caches are listed without its libraries
        from .teacher.weights import CONFIG_FILES, WEIGHT_FILES
        given = self.given_tokenizer_dir
        tokenizer = TOKENIZER_FILES  # one that is made in this run may have any of them
        if given is not None and given.is_dir():
            tokenizer = () if self._holds_tokenizer_of(given) else [
                name for name in TOKENIZER_FILES if (given / name).is_file()]
        words = [WORDS_FILE] if self._reads_words else []
        ours = ("steps", *ONNX_FILES, SPEC_FILE, WEIGHTS_FILE, *tokenizer, *words, *REPORT_FILES)
        strange = next((name for name in ours if (self.save_dir / name).exists()), None)
        if strange:
            raise UserError(f"Global.save_dir: {self.save_dir / strange} is none of ours, and the student's would "
                            "take its place; name another folder")
        config, weights = (next((name for name in names if (self.save_dir / name).is_file()), None)
                           for names in (CONFIG_FILES, WEIGHT_FILES))
        if config and weights:
            raise UserError(f"Global.save_dir: {self.save_dir} holds a model that is none of ours ({config}, "
                            f"{weights}); name another folder for the student")

    def _holds_tokenizer_of(self, given: Path) -> bool:
        """Return whether ``save_dir`` has the same tokenizer: PaddleSlim's own scripts put it there as they begin."""
        try:
            return has_tokenizer(self.save_dir) and load_tokenizer(self.save_dir).vocab == load_tokenizer(given).vocab
        except UserError:
            return False

    def _tidy_cache(self) -> None:
        if self._fresh:
            remove(self._own_cache)
            make_writable_folder(self._own_cache, "Global.cache_dir")
        for kind in (*CACHE_KINDS, FRESH):
            remove_leftovers(self.cache_dir / kind)

    def __exit__(self, *failure: object) -> None:
        if not ranks.is_first():
            if ranks.keeps_cache() and failure == (None, None, None):
                self._cache_what_is_fresh()
            return
        with suppress(OSError):  # a run that fails may no longer write there; the lock itself goes all the same
            (self.save_dir / ".lock").unlink()
        self._lock.release()

    def stage(self, name: str, work: Callable[..., _Made], *arguments: Any, **options: Any) -> _Made:
        """Return what ``work`` makes of its arguments; log and time it. What it has freed is then free for others."""
        _log.info("%s ...", name)
        ranks.enter_stage(name)
        started = time.perf_counter()
        made = work(*arguments, **options)
        give_back_freed_memory()
        self.seconds[name] = round(time.perf_counter() - started, 2)
        return made

    def cache(self, kind: str) -> Path:
        """Return the folder of one of `CACHE_KINDS`, whose files later runs find again."""
        return make_writable_folder(self._caches / kind, "Global.cache_dir")

    def step_dir(self, name: str) -> Path:
        """Return the new, empty folder of a step's model, to be published as ``steps/<name>``."""
        folder = self._steps_dir / name
        remove(folder)
        folder.mkdir(parents=True)
        return folder

    @property
    def given_tokenizer_dir(self) -> Path | None:
        """The folder of the tokenizer that the settings name, or the teacher brings, or labels from elsewhere."""
        from .teacher.texts_to_label import tokenizer_beside  # here: the caches are listed without its libraries
        named = [place for place in (self._settings.tokenizer_dir, *self._settings.teacher_folders) if place]
        return Path(named[0]) if named else tokenizer_beside(self._settings.teacher_labels or ())

    @property
    def tokenizer_dir(self) -> Path:
        """Where the tokenizer's files are; one that the run makes is written there."""
        return self.given_tokenizer_dir or self.work_dir / "tokenizer"

    @property
    def onnx_dir(self) -> Path:
        """Where ONNX files wait to be published."""
        return self.work_dir / "onnx"

    @property
    def final_dir(self) -> Path:
        """Where what will be published is put together."""
        return self.work_dir / "final"

    @property
    def _steps_dir(self) -> Path:
        return self.work_dir / "steps"

    def assemble(self, final: Path, spec: StudentSpec, weights: Weights) -> None:
        """Put the final model, its ONNX files, the float student and the tokenizer files into ``final_dir``."""
        from .student.weights import save_student  # here: the caches are listed without its libraries
        for file in final.iterdir():
            copy_whole(file, self.final_dir / (self._model_name + file.suffix))
        for file in self.onnx_dir.iterdir():
            copy_whole(file, self.final_dir / file.name)
        copy_tokenizer(self.tokenizer_dir, self.final_dir)
        save_student(self.final_dir, weights, spec)

    def publish(self) -> None:
        """Move ``final_dir`` and the steps' models into ``save_dir``, in place of an earlier run's.

        Only renames are left to do by now, and until the last of them nothing there can be taken for a whole model.
        A README.md that is no model card of ours stays, and ours is left out.
        """
        if (readme := self.save_dir / CARD_FILE).is_file() and f"- {CARD_TAG}\n".encode() not in readme.read_bytes():
            _log.warning("%s: is no model card of ours, so it stays, and the student's is left out", readme)
            (self.final_dir / CARD_FILE).unlink()
        last = (f"{self._model_name}.pdmodel", SPEC_FILE)  # without them neither Paddle nor a Predictor has a model
        earlier = self._earlier_model()
        others = [name for name in READING_FILES if earlier and not (self.final_dir / name).is_file()]
        for stale in (*earlier, *(self.save_dir / name for name in (*ONNX_FILES, *last, *others))):
            stale.unlink(missing_ok=True)
        replace_folder(self._steps_dir, self.save_dir / "steps")
        for file in sorted(self.final_dir.iterdir(), key=lambda file: (file.name in last, file.name)):
            os.replace(file, self.save_dir / file.name)
        sync_folder(self.save_dir)

    def _earlier_model(self) -> list[Path]:
        """Return the files of the model that an earlier run has published, perhaps under other names."""
        try:
            settings = read_json(self.save_dir / "report.json", "")["config"]["Global"]
            name = published_name(settings["model_filename"])
        except (OSError, UserError, KeyError, TypeError):
            return []
        return [self.save_dir / f"{name}{suffix}" for suffix in _PADDLE_FILES]

    def clear(self) -> None:
        """Remove what was in the making; what a fresh run has computed takes the place of what was cached."""
        self._cache_what_is_fresh()
        remove(self.work_dir)

    def _cache_what_is_fresh(self) -> None:
        for entry in list(self._own_cache.glob("*/*")):
            target = make_writable_folder(self.cache_dir / entry.parent.name, "Global.cache_dir") / entry.name
            if entry.parent.name == "labels" and target.is_dir():  # where another run may have files open
                for file in list(entry.iterdir()):
                    os.replace(file, target / file.name)
            elif entry.is_dir():
                replace_folder(entry, target)
            else:
                os.replace(entry, target)
        remove(self._own_cache)
