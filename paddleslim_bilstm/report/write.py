"""The report of a run: report.json for programs, report.md and report.png for people, README.md for model hubs."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Mapping, Sequence

import numpy as np

from ..run import CARD_FILE
from ..storage import whole_file, write_json
from ..student.spec import StudentSpec
from ..tokens import BERT_FEEDS
from .card import feeds_code, model_card
from .machine import hardware, versions
from .markdown import markdown_report
from .measure import ModelRow
from .plot import save_plot
from .report import Report


def write_report(save_dir: str | Path, rows: Sequence[ModelRow], config: Mapping[str, Any],
                 seconds: Mapping[str, float], data_counts: Mapping[str, Any],
                 transfer_set: Mapping[str, Any], notes: Sequence[str] = (),
                 metric: str = "accuracy", chosen_by: str | None = None, spec: StudentSpec | None = None,
                 language: str | None = None, labels: np.ndarray | None = None) -> Report:
    """Write report.json, report.md, report.png and, of a student, its model card into ``save_dir``; return the report.

    Args:
        rows: teacher first, the final model last.
        config: JSON-able settings.
        seconds: of each stage, in order.
        metric: what the models are judged by, a name of the task's.
        chosen_by: what chose the best checkpoint, if not ``metric``.
        spec: the student that the card is about; no card without one.
        language: of the text, as ISO 639-1 has it, where it is known.
        labels: of the dev set, as the task has them; None where it has none.
    """
    if not rows:
        raise ValueError("a report needs at least one model")
    report = Report(tuple(rows), config, seconds, data_counts, transfer_set, versions(), hardware(), metric,
                    tuple(notes), chosen_by, _labels(spec, labels) if rows[0].by_label else ())
    folder, feeds = Path(save_dir), feeds_code(*((spec.feeds, spec.pad_id, spec.width) if spec else (BERT_FEEDS, 0)))
    with whole_file(folder / "report.png") as partial:
        save_plot(report.models, partial, metric)
    with whole_file(folder / "report.md") as partial:
        partial.write_text(markdown_report(report, feeds), encoding="utf-8")
    if spec is not None:
        with whole_file(folder / CARD_FILE) as partial:
            partial.write_text(model_card(report, spec, language), encoding="utf-8")
    write_json(folder / "report.json", report.as_json())
    return report


def _labels(spec: StudentSpec, labels: np.ndarray) -> tuple[Mapping[str, Any], ...]:
    return tuple({"label": name, "dev_rows": int(count), "threshold": threshold}
                 for name, count, threshold in zip(spec.label_names, labels.sum(axis=0), spec.thresholds))
