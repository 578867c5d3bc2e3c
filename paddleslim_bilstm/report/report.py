"""What a run reports, in one object, and its tables: models side by side, for a page and a terminal; the data."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from typing import Any, Callable, Mapping, Sequence

from ..task import CLASSIFICATION, Task, in_table_order, likenesses, metrics_by_name, task_named
from .measure import ALONE, TEACHER, ModelRow

REPORT_FORMAT = 1
TABLE_WIDTH = 100
_GAP = "  "
_NAME_WIDTH = 13  # of the models' column at least, "Bi-LSTM alone"
_LEFT_OUT_FIRST = ("p99 ms", "FLOPs", "params")


@dataclass(frozen=True)
class Report:
    """What a run reports.

    Attributes:
        models: teacher first, the final model last.
        config: the settings as they were used.
        seconds: of each stage, in the order in which they ran.
        data: counts, such as ``{"train": 67349, "dev": 872, "truncated": 0}``.
        transfer_set: counts, such as ``{"originals": 66978, "made": 1414329, "duplicates": 234201}``.
        versions, hardware: as in machine.py.
        metric: what the models are judged by, a name of the task's.
        notes: what a reader should know about the run as a whole.
        chosen_by: what chose the best checkpoint, if not ``metric``.
        evaluated_by: what measured the checkpoints on the dev set, if not ``metric``.
        labels: where a text has several, ``{"label", "dev_rows", "threshold"}`` of each output.
        training: of each trained student by its name, as ``evaluations`` ``[step, metric on the dev set, loss]`` of
            each, and as ``chosen`` the step of the best checkpoint.
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
    training: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    evaluated_by: str | None = None

    @property
    def task(self) -> Task:
        """What the models do."""
        return task_named(self.config.get("Global", {}).get("task", CLASSIFICATION.name))

    @property
    def headline(self) -> str:
        """The run in one sentence or two."""
        return headline(self.models, self.metric)

    @property
    def has_teacher_model(self) -> bool:
        """Whether the teacher is a model, for which the student can stand in: not answers of others, nor a function."""
        return bool(self.config.get("Global", {}).get("model_dir"))

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
        return _as_json({"format": REPORT_FORMAT, "headline": self.headline, **values})


def _as_json(value: Any) -> Any:
    """Return ``value`` with null for numbers that JSON doesn't have: a user's own metric may be NaN."""
    if isinstance(value, dict):
        return {key: _as_json(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return list(map(_as_json, value))
    return None if isinstance(value, float) and not math.isfinite(value) else value


def headline(rows: Sequence[ModelRow], metric: str = "accuracy") -> str:
    """Sum up the last model against the teacher, and against the Bi-LSTM alone, in a sentence or two.

    Example: "The student keeps 96.4 % of the teacher's accuracy (86.0 of 89.2 %), is 72x faster and 9.2x smaller.
    Trained alone on the labels, the same Bi-LSTM reaches 81.6 %."
    """
    by_name = {row.name: row for row in rows}
    teacher, student, alone = by_name.get(TEACHER), rows[-1], by_name.get(ALONE)
    if student is teacher:
        return f"{student.name}: {quality(student, metric)}."
    score, figure = score_of(student, metric), metrics_by_name()[metric]
    of = None if teacher is None else score_of(teacher, metric)
    kept = (f"keeps {score / of * 100:.1f} % of the teacher's {figure.title} "
            f"({figure.cell(score)} of {figure.shown(of)})"
            if score is not None and of is not None and of > 0 else f"reaches {quality(student, metric)}")
    text = f"The student {kept}."
    if teacher is not None and teacher.latency_ms is not None and teacher.size_bytes is not None:
        text = (f"The student {kept}, is {times(teacher.latency_ms.p50 / student.latency_ms.p50, 'faster', 'slower')} "
                f"and {times(teacher.size_bytes / student.size_bytes, 'smaller', 'larger')}.")
    by_itself = None if alone is None or alone is student else score_of(alone, metric)
    if by_itself is not None:
        text += f" Trained alone on the labels, the same Bi-LSTM reaches {figure.shown(by_itself)}."
    return text


def text_table(rows: Sequence[ModelRow]) -> str:
    """Return the table for a terminal, at most ``TABLE_WIDTH`` columns wide.

    Where there are many figures of quality, some of the others are left to report.md.
    """
    cells, widths = _cells(rows), []
    for left_out in (None, *_LEFT_OUT_FIRST):
        if left_out in cells[0]:
            place = cells[0].index(left_out)
            cells = [[*line[:place], *line[place + 1:]] for line in cells]
        widths = [max(map(len, column)) for column in zip(*cells)]
        if sum(widths[1:]) + len(_GAP) * len(widths[1:]) + _NAME_WIDTH <= TABLE_WIDTH:
            break
    widths[0] = min(widths[0], TABLE_WIDTH - sum(width + len(_GAP) for width in widths[1:]))
    lines = [_GAP.join(_fit(cell, width, left=not column) for column, (cell, width) in enumerate(zip(line, widths)))
             for line in cells]
    lines.insert(1, _GAP.join("-" * width for width in widths))
    return "\n".join(line.rstrip() for line in lines)


def markdown_table(rows: Sequence[ModelRow]) -> str:
    """Return the table for GitHub-flavoured Markdown."""
    header, *lines = ["| " + " | ".join(line) + " |" for line in _cells(rows)]
    rule = "|---" + "|---:" * (header.count(" | ")) + "|"
    return "\n".join([header, rule, *lines])


def label_table(labels: Sequence[Mapping[str, Any]], rows: Sequence[ModelRow]) -> str:
    """Return Markdown: the F1 of each label, a column a model; for ``Report.labels``."""
    lines = [["label", "dev rows", "threshold", *(f"{row.name}, F1 %" for row in rows)]]
    for place, label in enumerate(labels):
        scores = ["-" if row.by_label[place] is None else f"{100 * row.by_label[place]:.1f}" for row in rows]
        lines.append([label["label"].replace("|", "\\|"), f"{label['dev_rows']:,}", f"{label['threshold']:g}", *scores])
    header, *body = ["| " + " | ".join(line) + " |" for line in lines]
    return "\n".join([header, "|---" + "|---:" * (len(rows) + 2) + "|", *body])


def score_of(row: ModelRow, metric: str) -> float | None:
    """Return the row's figure for ``metric``; ``macro_f1`` of more than two classes is its ``f1``."""
    score = row.figure(metric)
    return row.f1 if score is None and metric == "macro_f1" else score


def quality(row: ModelRow, metric: str = "accuracy") -> str:
    """Return the best known figure of quality in words, such as "86.0 % accuracy"."""
    score = score_of(row, metric)
    if score is not None:
        figure = metrics_by_name()[metric]
        return f"{figure.shown(score)} {figure.title}"
    if row.metric is not None and math.isfinite(row.metric):
        return f"{row.metric:.4g} in your own evaluation"
    for likeness in likenesses().values():
        if row.figure(likeness.name) is not None:
            return f"{likeness.shown(row.figure(likeness.name))} {likeness.title}"
    return "a quality that was not measured (no labels)"


def compact(number: float) -> str:
    """Three digits and a unit: ``22_713_986 -> "22.7 M"``, ``812 -> "812"``, ``0.2534 -> "0.253"``."""
    for power, unit in ((9, " G"), (6, " M"), (3, " k")):
        if number >= 0.9995 * 10 ** power:
            return _three_digits(number / 10 ** power) + unit
    return _three_digits(number)


def times(ratio: float, more: str, less: str) -> str:
    """``72.3 -> "72x faster"``, ``0.8 -> "1.2x slower"`` (for more="faster", less="slower")."""
    word, factor = (more, ratio) if ratio >= 1 else (less, 1 / ratio)
    return f"{factor:.0f}x {word}" if factor >= 9.95 else f"{factor:.1f}x {word}"


def _cells(rows: Sequence[ModelRow]) -> list[list[str]]:
    """Return the header and a line a model, all text. A column that no model fills is left out."""
    measured = [name for name in metrics_by_name() if any(row.figure(name) is not None for row in rows)]
    columns = {
        "model": [row.name for row in rows],
        **{one.column: [one.cell(row.figure(one.name)) for row in rows] for one in in_table_order(measured)},
        "metric": ["-" if row.metric is None else f"{row.metric:.4g}" for row in rows],
        **{one.column: [one.cell(row.figure(one.name)) for row in rows] for one in likenesses().values()},
        "params": [_known(compact, row.parameters) for row in rows],
        "size": [_known(lambda size: compact(size) + "B", row.size_bytes) for row in rows],
        "FLOPs": [_known(compact, row.flops) for row in rows],
        "p50 ms": [_known(lambda latency: _three_digits(latency.p50), row.latency_ms) for row in rows],
        "p99 ms": [_known(lambda latency: _three_digits(latency.p99), row.latency_ms) for row in rows],
        "sent./s": [_known(compact, row.sentences_per_s) for row in rows],
    }
    filled = {name: values for name, values in columns.items() if any(value != "-" for value in values)}
    return [list(filled)] + [list(line) for line in zip(*filled.values())]


def _known(shown: Callable[[Any], str], value: Any) -> str:
    return "-" if value is None else shown(value)


def _three_digits(number: float) -> str:
    if number == 0:
        return "0"
    decimals = 0 if number >= 99.95 else 1 if number >= 9.995 else 2 if number >= 0.9995 else 3
    return f"{number:.{decimals}f}"


def _fit(cell: str, width: int, left: bool) -> str:
    if len(cell) > width:
        cell = cell[:width - 1] + "…"
    return cell.ljust(width) if left else cell.rjust(width)


_SETS = ("train", "dev", "unlabeled")
_TITLES = {  # keys of the counts -> what the table calls them
    "truncated": "longer than `max_seq_length`, cut", "empty_skipped": "without text, skipped",
    "one_side_empty": "pairs with one side empty, kept",
    "duplicates": "the same text again, kept", "conflicting_labels": "the same text with another label, kept",
    "without_letters": "only punctuation, symbols or emoji", "long": "over 10,000 characters",
    "byte_order_mark": "byte-order mark, left out", "crlf_lines": "CRLF line ends",
}


def data_table(data: Mapping[str, Any], transfer_set: Mapping[str, Any]) -> str:
    """Return Markdown: one column for each set of rows; what was looked for and not found is only listed.

    Args:
        data: rows by set (``train``), counts by set (``train_duplicates``, ``truncated_train``), other counts.
        transfer_set: counts.
    """
    sets = [name for name in _SETS if data.get(name)]
    table = [_line("rows", [data[name] for name in sets])]
    used, absent = {*_SETS, *(f"{name}_rows" for name in _SETS)}, []
    for key, title in _TITLES.items():
        keys = [next((one for one in (f"{name}_{key}", f"{key}_{name}") if one in data), None) for name in sets]
        counts = [data.get(one) for one in keys]
        if any(counts):
            table.append(_line(title, counts))
        elif any(keys):
            absent.append(title.partition(", ")[0])
        used.update(f"{name}_{key}" for name in _SETS)
        used.update(f"{key}_{name}" for name in _SETS)
    others = [_line(name.replace("_", " "), [value]) for name, value in data.items() if name not in used]
    others += [_line(f"transfer set: {name}", [value]) for name, value in transfer_set.items()]
    parts = ["\n".join([f"| | {' | '.join(sets)} |", f"|---|{'---:|' * len(sets)}", *table])] if sets else []
    if absent:
        parts.append(f"Looked for and not found: {'; '.join(absent)}.")
    if others:
        parts.append("\n".join(["| | |", "|---|---:|", *others]))
    return "\n\n".join(parts)


def _line(title: str, counts: list[Any]) -> str:
    return f"| {title} | {' | '.join(map(_count, counts))} |"


def _count(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)
