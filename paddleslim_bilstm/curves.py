"""The curves of the trainings, where VisualDL shows them while a run works."""

from __future__ import annotations

import functools
import logging
from collections import Counter
from contextlib import contextmanager
from pathlib import Path
from typing import Callable, Iterator

from . import ranks
from .config import Config
from .errors import UserError
from .storage import make_writable_folder, remove
from .student.checkpoint import Progress

FOLDER = "visualdl"
LOSS, METRIC = "loss", "dev_metric"  # VisualDL's tags: the same in each training, so that they share a chart

_log = logging.getLogger(__name__)


def check_visualdl(settings: Config) -> None:
    """Check that VisualDL is there, if the settings ask for it.

    Raises:
        UserError: it is not.
    """
    if settings.global_.visualdl:
        try:
            import visualdl  # noqa: F401
        except ImportError as error:
            raise UserError(f"Global.visualdl: VisualDL can't be imported ({error}); install it with `pip install "
                            "visualdl`, or leave the setting out") from None


@contextmanager
def curves(settings: Config, training: str) -> Iterator[Callable[[Progress], None]]:
    """Yield a function that shows how far ``training`` is: it writes the points that are new since its last call.

    All are new at the first call: a run that goes on has a log with each point once, whatever the killed one had
    written behind its last checkpoint. Without ``Global.visualdl``, and in other ranks than the first, it does nothing.
    """
    if not (settings.global_.visualdl and ranks.is_first()):
        yield lambda progress: None
        return
    from visualdl import LogWriter
    folder = Path(settings.global_.save_dir) / FOLDER
    _tell(folder)
    remove(folder / training)
    make_writable_folder(folder, "Global.save_dir")
    written: Counter[str] = Counter()
    with LogWriter(str(folder / training)) as log:
        def show(progress: Progress) -> None:
            for tag, points in ((LOSS, progress.losses), (METRIC, progress.evaluations)):
                for step, value, *_ in points[written[tag]:]:
                    if value is not None:
                        log.add_scalar(tag, value, step)
                written[tag] = len(points)
            log.flush()

        yield show


@functools.lru_cache(maxsize=None)
def _tell(folder: Path) -> None:
    _log.info("curves of the trainings: visualdl --logdir %s", folder)
