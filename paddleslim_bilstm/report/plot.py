"""One picture of a run: how good each model is against how long it takes."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Sequence

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter
from matplotlib.transforms import Bbox

from ..metrics import AGREEMENT, Metric
from ..task import likenesses, metrics_by_name
from .charts import places_around
from .measure import ALONE, TEACHER, ModelRow
from .report import compact, score_of

_LARGEST_DOT_POINTS = 36  # diameter
_SMALLEST_DOT_POINTS = 6
_COLOURS = {TEACHER: "#4c72b0", ALONE: "#8c8c8c"}
_STUDENT_COLOUR = "#dd8452"


def save_plot(rows: Sequence[ModelRow], path: Path, metric: str = "accuracy") -> None:
    """Write a PNG: the metric against latency (p50, logarithmic), each dot's area in proportion to the model's size.

    Without labels the y axis shows the user's own metric or, failing that, the agreement with the teacher.
    """
    rows = [row for row in rows if row.latency_ms is not None]  # of a teacher that isn't a file none is known
    axis_label, values = quality_axis(rows, metric)
    latencies = [row.latency_ms.p50 for row in rows]
    diameters = _dot_diameters([row.size_bytes for row in rows])
    figure = Figure(figsize=(8, 5), dpi=150)
    canvas = FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.scatter(latencies, values, s=diameters ** 2, linewidths=0.8, edgecolors="white", alpha=0.7, zorder=2,
                 c=[_COLOURS.get(row.name, _STUDENT_COLOUR) for row in rows])
    axes.scatter(latencies, values, s=4, linewidths=0, c="#333333", zorder=2)
    axes.set_xscale("log")
    axes.set_xlim(min(latencies) / 2.5, max(latencies) * 3.5)
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    margin = max(0.25 * (max(values) - min(values)), 0.005 * abs(max(values)), 1e-3)
    axes.set_ylim(min(values) - margin, max(values) + margin)
    axes.grid(color="#e5e5e5", zorder=0)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    runtimes = " / ".join(dict.fromkeys(row.runtime for row in rows))
    axes.set_xlabel(f"median latency of one sentence in ms\n({runtimes})")
    axes.set_ylabel(axis_label)
    axes.set_title("Up and to the left is better; a dot's area is the model's size on disk", fontsize=10, loc="left",
                   color="#555555")
    figure.tight_layout()
    labels = [f"{row.name} ({compact(row.size_bytes)}B)" for row in rows]
    place_labels(canvas, axes, labels, list(zip(latencies, values)), diameters)
    canvas.print_png(str(path))


def quality_axis(rows: Sequence[ModelRow], metric: str) -> tuple[str, list[float]]:
    """Return what an axis of the models' quality is called, and each model's figure on it."""
    scores = [score_of(row, metric) for row in rows]
    if all(score is not None and math.isfinite(score) for score in scores):
        figure = metrics_by_name()[metric]
        return _axis(f"{figure.title} on the dev set", figure, scores)
    if all(row.metric is not None and math.isfinite(row.metric) for row in rows):
        return "result of your own evaluation", [row.metric for row in rows]
    known = [one for one in likenesses().values() if any(row.figure(one.name) is not None for row in rows)]
    likeness = known[0] if known else AGREEMENT
    values = [row.figure(likeness.name) for row in rows]
    return _axis(likeness.title, likeness, [1.0 if value is None else value for value in values])


def _axis(label: str, metric: Metric, values: list[float]) -> tuple[str, list[float]]:
    """Return label and values of an axis, in percent where the metric is shown so."""
    return (f"{label} in %", [value * 100 for value in values]) if metric.in_percent else (label, values)


def _dot_diameters(sizes: Sequence[int]) -> np.ndarray:
    diameters = _LARGEST_DOT_POINTS * np.sqrt(np.asarray(sizes, float) / max(sizes))
    return np.maximum(diameters, _SMALLEST_DOT_POINTS)


def place_labels(canvas: FigureCanvasAgg, axes, labels: Sequence[str], points: list, diameters: np.ndarray) -> None:
    """Write each label beside its dot, at the nearest place that covers nothing yet.

    ``points`` are in the axes' units, ``diameters`` in points; the figure's layout is done.
    """
    renderer = canvas.get_renderer()
    pixels_per_point = axes.figure.dpi / 72
    centres = axes.transData.transform(points)
    dots = [_box_around(centre, diameter * pixels_per_point / 2) for centre, diameter in zip(centres, diameters)]
    taken = list(dots)
    frame = axes.get_window_extent(renderer)
    for index in np.argsort(-diameters, kind="stable"):
        radius = diameters[index] / 2
        label = axes.annotate(labels[index], points[index], fontsize=8.5, zorder=3, xytext=(0, 0),
                              textcoords="offset points", va="center", annotation_clip=False)
        for distance, angle in places_around():
            away = (radius + distance) * np.array([np.cos(angle), np.sin(angle)])
            label.set_position(away)
            label.set_horizontalalignment("left" if away[0] > 1 else "right" if away[0] < -1 else "center")
            box = label.get_window_extent(renderer)
            inside = frame.x0 <= box.x0 and box.x1 <= frame.x1 and frame.y0 <= box.y0 and box.y1 <= frame.y1
            if inside and not any(box.overlaps(other) for other in taken):
                break
        taken.append(label.get_window_extent(renderer))
        crowded = sum(dots[index].overlaps(other) for other in dots) > 1
        if crowded or distance > 10:
            axes.annotate("", points[index], away, textcoords="offset points", zorder=2,
                          arrowprops={"arrowstyle": "-", "color": "#777777", "linewidth": 0.6,
                                      "shrinkA": 0, "shrinkB": 0})


def _box_around(centre: np.ndarray, radius: float) -> Bbox:
    return Bbox([centre - radius, centre + radius])
