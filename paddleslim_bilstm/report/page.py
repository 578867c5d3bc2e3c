"""Pages for a browser, one file each that needs no network: a run's report, and where student and teacher differ."""

from __future__ import annotations

import difflib
import html
import math
import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Iterator, Mapping, Sequence

import jinja2
import numpy as np
import yaml
from markupsafe import Markup

from .. import __version__
from ..metrics import Metric
from ..task import Task, metrics_by_name
from ..text.rows import Text
from .charts import Dot, Line, dot_chart, line_chart
from .comparison import Comparison
from .measure import ALONE, TEACHER, ModelRow
from .plot import quality_axis
from .report import Report, compact, markdown_table, score_of, times

MOST_CASES = 100  # of each list in a report
_MOST_CLASSES, _SMALL = 30, 4  # of a confusion matrix; so many classes leave room for another one beside it
_MOST_OUTPUTS = 8  # of a text that are shown
_LOOKS = {TEACHER: "teacher", ALONE: "alone"}
_STUDENT_LOOK = "student"
_WORD = re.compile(r"\s*(?:[^\W\u3400-\u9fff]+|\S)")


@dataclass(frozen=True)
class Variant:
    """A sentence of the transfer set, or one on the way there: what made it, and the teacher's logits, if known."""

    by: str
    text: Text
    logits: np.ndarray | None


def report_page(report: Report, title: str, sections: Mapping[str, str], comparison: Comparison | None = None,
                examples: Sequence[Sequence[Variant]] = ()) -> str:
    """Return report.html.

    Args:
        sections: Markdown by title, for the end of the page.
        comparison: of the teacher and the last model, on the dev set.
        examples: sentences and what was made of them, the original first.
    """
    measured = [row for row in report.models if row.latency_ms is not None]
    return _page(
        title, report.headline, tiles=_tiles(report), table=html_of(markdown_table(report.models), "sortable"),
        charts=_quality_charts(measured, report.metric) if measured else [], curves=_curves(report),
        examples=[_example(variants, report.task, comparison) for variants in examples],
        sections=[{"anchor": _anchor(name), "title": name, "html": html_of(text)} for name, text in sections.items()],
        settings=yaml.safe_dump(dict(report.config), sort_keys=False, allow_unicode=True),
        **_compared(comparison, report.metric, MOST_CASES) if comparison else {})


def comparison_page(comparison: Comparison, title: str, most_cases: int) -> str:
    """Return a page of nothing but where the two differ, with up to ``most_cases`` in each list."""
    parts = _compared(comparison, comparison.task.metrics[0].name, most_cases)
    return _page(title, parts.pop("agreement"), **parts)


def _page(title: str, headline: str, **parts: Any) -> str:
    anchors = [(key, name) for key, name, part in (
        ("models", "Models", "table"), ("training", "Training", "curves"), ("disagreements", "Disagreements", "groups"),
        ("confusions", "Confusions", "confusions"), ("behaviour", "Lengths", "behaviour"),
        ("transfer", "Transfer set", "examples")) if parts.get(part)]
    anchors += [(section["anchor"], section["title"]) for section in parts.get("sections", ())]
    anchors += [("settings", "Settings")] if parts.get("settings") else []
    return _template().render(title=title, headline=headline, version=__version__, anchors=anchors, **parts)


@lru_cache(maxsize=1)
def _template() -> jinja2.Template:
    source = Path(__file__).with_name("page.html").read_text(encoding="utf-8")
    return jinja2.Environment(autoescape=True, undefined=jinja2.ChainableUndefined).from_string(source)


def _tiles(report: Report) -> list[dict[str, str]]:
    """Return the few figures that one reads first."""
    teacher, student = report.models[0], report.models[-1]
    score, metric = score_of(student, report.metric), metrics_by_name()[report.metric]
    tiles = []
    if score is not None:
        of = score_of(teacher, report.metric) if teacher.name == TEACHER and teacher is not student else None
        tiles.append((metric.shown(score), metric.title + (f", teacher {metric.shown(of)}" if of is not None else "")))
    if student.latency_ms is not None:
        tiles.append((f"{compact(student.latency_ms.p50)} ms", "for one sentence on one CPU thread"))
    if student is not teacher and None not in (teacher.latency_ms, student.latency_ms):
        tiles.append((times(teacher.latency_ms.p50 / student.latency_ms.p50, "faster", "slower"), "than the teacher"))
    if student.size_bytes is not None:
        tiles.append((f"{compact(student.size_bytes)}B", f"on disk, {student.name}"))
    return [{"figure": figure, "what": what} for figure, what in tiles]


def _quality_charts(rows: Sequence[ModelRow], metric: str) -> list[dict[str, Any]]:
    label, values = quality_axis(rows, metric)
    largest = max(row.size_bytes for row in rows)
    places = {"median latency of one sentence in ms": [row.latency_ms.p50 for row in rows],
              "size on disk in MB": [row.size_bytes / 1e6 for row in rows]}
    return [{"caption": f"Up and to the left is better: quality against {what.partition(' of')[0].partition(' on')[0]}",
             "svg": dot_chart([Dot(row.name, x, y, row.size_bytes / largest, _look(row.name))
                               for row, x, y in zip(rows, across, values)], what, label)}
            for what, across in places.items()]


def _curves(report: Report) -> list[dict[str, Any]]:
    """Return the metric on the dev set over the steps of all trainings, and the loss of each."""
    charts, lines, metric = [], [], metrics_by_name()[report.metric]
    factor = 100 if metric.in_percent and report.evaluated_by is None else 1
    for name, training in report.training.items():
        known = [(step, value * factor) for step, value, *_ in training["evaluations"]
                 if value is not None and math.isfinite(value)]  # a user's own metric may be anything
        if known:
            chosen = next((place for place, (step, _) in enumerate(known) if step == training["chosen"]), None)
            lines.append(Line(name, known, _look(name), chosen))
    if lines:
        what = report.evaluated_by or metric.title + " in %" * (factor == 100)
        charts.append({"caption": f"On the dev set: {what}", "lines": lines, "svg": line_chart(lines, "steps", what)})
    for name, training in report.training.items():
        losses = losses_of(training["evaluations"])
        if losses:
            line = Line(name, losses, _look(name))
            charts.append({"caption": f"Loss of {name}, {_loss_of(name, report)}", "lines": [],
                           "svg": line_chart([line], "steps", "loss")})
    return charts


def losses_of(history: Sequence[Sequence[Any]]) -> list[tuple[int, float]]:
    """Return the curve of the loss, without a last point that is the mean of few steps; older students have none."""
    points = [(step, loss) for step, _, *rest in history for loss in rest]
    steps = np.diff([0, *(step for step, _ in points)])
    return points[:-1] if len(points) > 1 and steps[-1] < steps[-2] / 2 else points


def _loss_of(name: str, report: Report) -> str:
    return "against the labels" if name == ALONE else report.config.get("bert_to_bilstm", {}).get("loss", "logit_mse")


def _look(name: str) -> str:
    return _LOOKS.get(name, _STUDENT_LOOK)


def _compared(comparison: Comparison, metric: str, most: int) -> dict[str, Any]:
    """Return the parts of a page that show a comparison."""
    return {"agreement": told(comparison), "groups": _groups(comparison, most),
            "confusions": _confusion_tables(comparison), **_behaviour(comparison, metric)}


def told(comparison: Comparison) -> str:
    """Return in a sentence or two on how many texts the two differ."""
    total, differ = len(comparison.texts), comparison.disagreements
    if comparison.teacher.chosen is None:
        return f"How far the student's numbers are from its teacher's, on {total:,} {comparison.where}."
    said = (f"On {len(differ):,} of {total:,} {comparison.where} ({100 * len(differ) / total:.1f} %) the student says "
            "something else than its teacher")
    right = comparison.teacher_is_right
    if right is None:
        return f"{said}."
    good = int(right[differ].sum())
    wrong = comparison.teacher_errors
    corrected = int(np.isin(wrong, differ).sum())
    return (f"{said}: on {good:,} the teacher is right. Of the teacher's own {len(wrong):,} errors the student repeats "
            f"{len(wrong) - corrected:,}.")


def _groups(comparison: Comparison, most: int) -> list[dict[str, Any]]:
    differ, right = comparison.disagreements, comparison.teacher_is_right
    if right is not None:
        differ = differ[right[differ]]
    surest = "those first of which the teacher was surest" if comparison.teacher.chosen is not None else \
        "the largest differences first"
    title = "The largest differences" if comparison.teacher.chosen is None else \
        "All disagreements" if right is None else "What the student has not learned"
    groups = [_group(comparison, title, differ, surest, most)]
    if len(comparison.teacher_errors):
        groups.append(_group(comparison, "The teacher's own errors", comparison.teacher_errors, surest, most))
    return groups


def _group(comparison: Comparison, title: str, rows: np.ndarray, order: str, most: int) -> dict[str, Any]:
    shown = [_case(comparison, int(row)) for row in rows[:most]]
    said = f"{len(rows):,} text{'s' * (len(rows) > 1)}, {order}" if len(rows) else "There is none"
    more = f"; {most:,} of them are shown" if len(rows) > most else ""
    filters = []
    for key, what in (("teacher", "the teacher says"), ("student", "the student says"), ("gold", "gold label")):
        options = sorted({int(one) for case in shown for one in case["classes"].get(key, "").split()})
        if len(options) > 1:
            filters.append({"name": key, "title": what,
                            "options": [(number, comparison.label_names[number]) for number in options]})
    return {"title": title, "said": f"{said}{more}.", "cases": shown, "filters": filters}


def _case(comparison: Comparison, row: int) -> dict[str, Any]:
    text, task, outputs = comparison.texts[row], comparison.task, len(comparison.label_names)
    models = comparison.teacher, comparison.student
    gold = None if comparison.labels is None else comparison.labels[row:row + 1]
    note = [] if gold is None else [f"gold label: {task.in_words(gold[0], comparison.label_names)}"]
    classes, rows = {}, []
    if comparison.teacher.chosen is None:
        rows = [{"name": comparison.label_names[0], "answers": [
            {"text": task.in_words(said.answers[row], comparison.label_names), "chosen": False} for said in models]}]
    else:
        chosen = [said.chosen[row] for said in models]
        true = np.zeros(outputs, bool) if gold is None else task.chosen(gold, outputs)[0]
        for one in comparison.concerned(row)[:_MOST_OUTPUTS]:
            answers = [{"text": f"{100 * said.probabilities[row, one]:.1f} %", "chosen": bool(mask[one])}
                       for said, mask in zip(models, chosen)]
            rows.append({"name": comparison.label_names[one], "gold": bool(true[one]), "answers": answers})
        classes = {name: " ".join(map(str, np.flatnonzero(mask)))
                   for name, mask in (("teacher", chosen[0]), ("student", chosen[1]), ("gold", true))}
        if gold is not None and (chosen[0] != true).any():
            note.append("the student is right" if (chosen[1] == true).all() else
                        "the student says the same" if (chosen[0] == chosen[1]).all() else "both are wrong")
    return {"texts": [text] if isinstance(text, str) else list(text), "rows": rows, "classes": classes,
            "note": "; ".join([*note, f"{int(comparison.lengths[row])} tokens"])}


def _confusion_tables(comparison: Comparison) -> list[dict[str, Any]]:
    """Return the confusion matrices; of many classes those alone that are confused most."""
    tables = []
    for whose, counts in comparison.confusions().items():
        wrong = counts - np.diag(np.diag(counts))
        order = np.sort(np.argsort(-(wrong.sum(axis=0) + wrong.sum(axis=1)), kind="stable")[:_MOST_CLASSES])
        totals = np.maximum(counts.sum(axis=1), 1)
        names = [comparison.label_names[one] for one in order]
        rows = [{"name": comparison.label_names[row], "cells": [
            {"count": f"{counts[row, column]:,}", "share": round(float(60 * counts[row, column] / totals[row])),
             "look": "at" if row == column else "off"} for column in order]} for row in order]
        down = "the teacher's answers" if "against" in whose else "gold labels"
        more = f"; the {len(order)} of {len(counts)} classes that are confused most" if len(order) < len(counts) else ""
        tables.append({"caption": f"{down} down, {whose.partition(',')[0]} across{more}", "wide": len(names) > _SMALL,
                       "names": names, "rows": rows})
    return tables


def _behaviour(comparison: Comparison, metric: str) -> dict[str, Any]:
    charts, figure = [], metrics_by_name()[metric]
    calibration = comparison.calibration()
    if calibration:
        lines = [Line(name, [(mean, share) for mean, share, _ in points], name) for name, points in calibration.items()]
        charts.append({"caption": "Calibration: how many of the answers given a probability came true", "lines": lines,
                       "svg": line_chart(lines, "probability", "share that came true", unit_square=True)})
    groups = comparison.by_length(metric)
    if len(groups) > 1:
        likeness = comparison.task.likeness
        lines = [_length_line(groups, likeness.name, "likeness", likeness)]
        if figure.in_percent == likeness.in_percent:  # on one axis
            lines += [_length_line(groups, name, name, figure) for name in ("teacher", "student") if name in groups[0]]
        unit = " in %" * likeness.in_percent
        lines[0] = Line(likeness.title, lines[0].points, "likeness")
        charts.append({"caption": f"By length: {likeness.title}"
                                  + (f", and each model's {figure.title}" if len(lines) > 1 else ""), "lines": lines,
                       "svg": line_chart(lines, "tokens", f"quality{unit}")})
    if comparison.teacher.chosen is None:
        scatter = _sample(comparison)
        charts.append({"caption": "The student's numbers against its teacher's", "lines": [],
                       "svg": dot_chart(scatter, "teacher", "student", log=False)})
    names = [name for name, there in (("Calibration", calibration), ("length", len(groups) > 1)) if there]
    return {"behaviour": charts, "behaviour_title": " and ".join(names).capitalize() or "Numbers"}


def _sample(comparison: Comparison, most: int = 400) -> list[Dot]:
    rows = np.unique(np.linspace(0, len(comparison.texts) - 1, most).astype(int))
    return [Dot("", float(comparison.teacher.answers[row]), float(comparison.student.answers[row]), 0.0, _STUDENT_LOOK)
            for row in rows]


def _length_line(groups: Sequence[Mapping[str, Any]], key: str, look: str, metric: Metric) -> Line:
    factor = 100 if metric.in_percent else 1
    return Line(key, [((group["shortest"] + group["longest"]) / 2, factor * group[key]) for group in groups], look)


def _example(variants: Sequence[Variant], task: Task, comparison: Comparison | None) -> dict[str, Any]:
    original = _sides(variants[0].text)
    rows = [{"by": one.by, "sides": [list(changed_parts(old, new)) for old, new in zip(original, _sides(one.text))],
             "answer": _answer(one.logits, task, comparison)} for one in variants]
    return {"rows": rows, "answered": any(row["answer"] for row in rows)}


def _answer(logits: np.ndarray | None, task: Task, comparison: Comparison | None) -> str:
    if logits is None or comparison is None:
        return ""
    names, task = comparison.label_names, comparison.teacher.task
    words = task.in_words(task.answers_of(logits[None])[0], names)
    probabilities = task.probabilities(logits[None])
    return words if probabilities is None or not task.has_classes else f"{words} {100 * probabilities.max():.0f} %"


def _sides(text: Text) -> list[str]:
    return [text] if isinstance(text, str) else list(text)


def changed_parts(original: str, text: str) -> Iterator[tuple[str, bool]]:
    """Yield the parts of ``text`` and whether each is new: ``"a b", "a c" -> ("a", False), (" c", True)``.

    Capitals and spaces count for nothing: a tokenizer has changed them.
    """
    before, after = _WORD.findall(original), _WORD.findall(text)
    words = [[word.strip().lower() for word in side] for side in (before, after)]
    for kind, _, _, start, end in difflib.SequenceMatcher(None, *words, autojunk=False).get_opcodes():
        if start < end:
            yield "".join(after[start:end]), kind != "equal"


def html_of(markdown: str, table_class: str = "") -> Markup:
    """Return the HTML of what our reports have of Markdown: paragraphs, lists, tables, code, bold text and links."""
    parts: list[str] = []
    for number, piece in enumerate(re.split(r"```\w*\n(.*?)\n```", markdown, flags=re.DOTALL)):
        if number % 2:
            parts.append(f"<pre><code>{html.escape(piece)}</code></pre>")
            continue
        for block in filter(str.strip, piece.split("\n\n")):
            lines = block.strip().splitlines()
            if lines[0].startswith("|"):
                parts.append(_table(lines, table_class))
            elif lines[0].startswith("- "):
                parts.append(f"<ul>{''.join(f'<li>{_inline(line[2:])}</li>' for line in lines)}</ul>")
            else:
                parts.append(f"<p>{_inline(' '.join(lines))}</p>")
    return Markup("\n".join(parts))


def _table(lines: Sequence[str], table_class: str) -> str:
    head, rule, *body = [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]
    look = [' class="right"' if cell.endswith(":") else "" for cell in rule]

    def row(cells: Sequence[str], tag: str) -> str:
        inside = "".join(f"<{tag}{right}>{_inline(cell.replace(chr(92) + '|', '|'))}</{tag}>"
                         for cell, right in zip(cells, look))
        return f"<tr>{inside}</tr>"
    header = f"<thead>{row(head, 'th')}</thead>" if any(head) else ""
    kind = f' class="{table_class}"' if table_class else ""
    return f"<table{kind}>{header}<tbody>{''.join(row(cells, 'td') for cells in body)}</tbody></table>"


def _inline(text: str) -> str:
    text = html.escape(text)
    text = re.sub(r"`([^`]+)`", r"<code>\1</code>", text)
    text = re.sub(r"\*\*([^*]+)\*\*", r"<b>\1</b>", text)
    return re.sub(r"\[([^\]]+)\]\((https?://[^)\s]+)\)", r'<a href="\2">\1</a>', text)


def _anchor(title: str) -> str:
    return re.sub(r"\W+", "-", title.lower()).strip("-")
