"""The state of a training run on disk, from which a killed run goes on."""

from __future__ import annotations

import json
import logging
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open

from .. import ranks
from ..storage import checksum, whole_file, write_arrays

_log = logging.getLogger(__name__)

# weights, the optimizer's two moments and the best weights, and all of it once more while a file is replaced
CHECKPOINT_STUDENTS = 8
_CURVE_POINTS = 100  # of the loss, some
_FACTS = "progress"  # one entry: safetensors writes several in random order
_STATE, _BEST = "state.", "best."


@dataclass
class Progress:
    """Where a run is: steps done, the best student's step, metric and score, every evaluation, and whether it is over.

    Attributes:
        best_score: what the best student was chosen by; higher is better.
        losses: the curve of the loss: ``[step, mean since the point before]`` of each point.
        losses_since: those of the steps behind its last point.
    """

    step: int = 0
    finished: bool = False
    best_metric: float | None = None
    best_step: int = 0
    best_score: float | None = None
    evaluations: list = field(default_factory=list)
    losses: list = field(default_factory=list)
    losses_since: list = field(default_factory=list)

    def count_step(self, loss: float, total_steps: int) -> bool:
        """Count a step of ``total_steps``, and return whether the curve of the loss has a new point."""
        self.step += 1
        self.losses_since.append(loss)
        if self.step % -(-total_steps // _CURVE_POINTS) and self.step < total_steps:
            return False
        self.losses.append([self.step, sum(self.losses_since) / len(self.losses_since)])
        self.losses_since = []
        return True


def save_checkpoint(path: Path, progress: Progress, state: dict[str, np.ndarray], best: dict[str, np.ndarray]) -> None:
    """Write the run's state (weights, optimizer moments; none once it is over) and its best weights, atomically."""
    arrays = {_STATE + name: np.ascontiguousarray(value) for name, value in state.items()}
    arrays.update({_BEST + name: np.ascontiguousarray(value) for name, value in best.items()})
    written = json.dumps(asdict(progress))
    with whole_file(path) as partial:
        write_arrays(partial, arrays, {_FACTS: json.dumps([written, _checksum(written, arrays)])})


def load_checkpoint(path: Path) -> tuple[Progress, dict[str, np.ndarray], dict[str, np.ndarray]] | None:
    """Return what `save_checkpoint` wrote, or None where there is no file or, with a warning, a damaged one."""
    if not path.is_file():
        return None
    try:
        with safe_open(path, "numpy") as file:
            written, expected = json.loads(file.metadata()[_FACTS])
            arrays = {name: file.get_tensor(name) for name in file.keys()}
        if _checksum(written, arrays) != expected:
            raise ValueError
        progress = Progress(**json.loads(written))
    except (SafetensorError, KeyError, TypeError, ValueError):
        _log.warning("%s is damaged; its training starts over", path)
        return None
    return progress, _under(arrays, _STATE), _under(arrays, _BEST)


def checkpoint_of_first(path: Path | None) -> tuple[Progress, dict[str, np.ndarray], dict[str, np.ndarray]] | None:
    """Return what `load_checkpoint` returns in the first rank, in all ranks; None without a path."""
    saved = load_checkpoint(path) if path and ranks.is_first() else None
    progress = ranks.of_first(lambda: saved and asdict(saved[0]))
    if progress is None or ranks.count() == 1:
        return saved
    state, best = (ranks.arrays_of_first(saved[part] if saved else {}) for part in (1, 2))
    return Progress(**progress), state, best


def _checksum(progress: str, arrays: dict[str, np.ndarray]) -> str:
    return checksum(progress, sorted(arrays), *(arrays[name] for name in sorted(arrays)))


def _under(arrays: dict[str, np.ndarray], prefix: str) -> dict[str, np.ndarray]:
    return {name[len(prefix):]: value for name, value in arrays.items() if name.startswith(prefix)}
