"""The report of a run: report.json for programs, report.md and report.png for people."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Mapping, Sequence

from ..files import whole_file, write_json
from .hardware import hardware, versions
from .markdown import markdown_report
from .plot import save_plot
from .rows import ModelRow
from .table import headline, text_table

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
        notes: what a reader should know about the run as a whole.
    """

    models: tuple[ModelRow, ...]
    config: Mapping[str, Any]
    seconds: Mapping[str, float]
    data: Mapping[str, Any]
    transfer_set: Mapping[str, Any]
    versions: Mapping[str, str]
    hardware: Mapping[str, Any]
    notes: tuple[str, ...] = ()

    @property
    def headline(self) -> str:
        """The run in one sentence or two."""
        return headline(self.models)

    @property
    def table(self) -> str:
        """The models side by side, for a terminal."""
        return text_table(self.models)

    def as_json(self) -> dict[str, Any]:
        """Return what report.json holds."""
        return {"format": REPORT_FORMAT, "headline": self.headline, **asdict(self)}


def write_report(save_dir: str | Path, rows: Sequence[ModelRow], config: Mapping[str, Any],
                 seconds: Mapping[str, float], data_counts: Mapping[str, Any],
                 transfer_set: Mapping[str, Any], notes: Sequence[str] = ()) -> Report:
    """Write report.json, report.md and report.png into ``save_dir`` and return the report.

    Args:
        rows: teacher first, the final model last.
        config: JSON-able settings.
        seconds: of each stage, in order.
    """
    if not rows:
        raise ValueError("a report needs at least one model")
    report = Report(tuple(rows), config, seconds, data_counts, transfer_set, versions(), hardware(), tuple(notes))
    folder = Path(save_dir)
    with whole_file(folder / "report.png") as partial:
        save_plot(report.models, partial)
    with whole_file(folder / "report.md") as partial:
        partial.write_text(markdown_report(report), encoding="utf-8")
    write_json(folder / "report.json", report.as_json())
    return report
