"""What a run reports."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Mapping

from ..task import CLASSIFICATION, Task, task_named
from .measure import ModelRow
from .tables import headline, text_table

REPORT_FORMAT = 1


@dataclass(frozen=True)
class Report:
    """What a run reports.

    Attributes:
        models: teacher first, the final model last.
        config: the settings as they were used.
        seconds: of each stage, in the order in which they ran.
        data: counts, such as ``{"train": 67349, "dev": 872, "truncated": 0}``.
        transfer_set: counts, such as ``{"sentences": 741505, "tokens": 9714000}``.
        versions, hardware: as in hardware.py.
        metric: what the models are judged by, a name of the task's.
        notes: what a reader should know about the run as a whole.
        chosen_by: what chose the best checkpoint, if not ``metric``.
        labels: where a text has several, ``{"label", "dev_rows", "threshold"}`` of each output.
    """

    models: tuple[ModelRow, ...]
    config: Mapping[str, Any]
    seconds: Mapping[str, float]
    data: Mapping[str, Any]
    transfer_set: Mapping[str, Any]
    versions: Mapping[str, str]
    hardware: Mapping[str, Any]
    metric: str = "accuracy"
    notes: tuple[str, ...] = ()
    chosen_by: str | None = None
    labels: tuple[Mapping[str, Any], ...] = ()

    @property
    def task(self) -> Task:
        """What the models do."""
        return task_named(self.config.get("Global", {}).get("task", CLASSIFICATION.name))

    @property
    def headline(self) -> str:
        """The run in one sentence or two."""
        return headline(self.models, self.metric)

    @property
    def table(self) -> str:
        """The models side by side, for a terminal."""
        return text_table(self.models)

    def as_json(self) -> dict[str, Any]:
        """Return what report.json holds."""
        values = asdict(self)
        for row in values["models"]:
            row.update(row.pop("scores"))
            if not self.labels:
                del row["by_label"]
        if not self.labels:
            del values["labels"]
        return {"format": REPORT_FORMAT, "headline": self.headline, **values}
