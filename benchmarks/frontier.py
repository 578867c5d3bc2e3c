"""Accuracy on SST-2 against latency and against bytes: our students, the teacher, and what others have published."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Sequence

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

from paddleslim_bilstm.report.plot import place_labels

_DOT_POINTS = 7.0  # diameter
_COLOURS = {"ours": "#dd8452", "teacher": "#4c72b0", "alone": "#8c8c8c", "other": "#8c8c8c"}


@dataclass(frozen=True)
class Point:
    """A model.

    Attributes:
        name: as it is written beside its dot.
        accuracy: in percent.
        megabytes: on disk, 10**6 bytes.
        milliseconds: of one sentence, median; None where it was measured elsewhere.
        kind: ours, teacher, alone or, published by others, other.
    """

    name: str
    accuracy: float
    megabytes: float
    milliseconds: float | None = None
    kind: str = "ours"


# Sørensen and Jacobsen 2021, "Featherweight NLP", master's thesis, IT University of Copenhagen, table 7.5
# (github.com/pocketML/lil_bobby, Thesis.pdf): int8 Bi-LSTMs on byte-pair embeddings of 100 and 25 dimensions, gzipped,
# from a RoBERTa-large of 96.6, on the dev set. huggingface.co/moshew/distilbilstm-finetuned-sst-2-english: 0.66 M
# float32 parameters, from a RoBERTa, with generated text, on the 1,821 sentences of Stanford's test set. Both read on
# 26 November 2026.
PUBLISHED = (
    Point("Sørensen 2021, BPE 100", 89.08, 0.839, kind="other"),
    Point("Sørensen 2021, BPE 25", 88.33, 0.404, kind="other"),
    Point("distilbilstm (test set)", 91.87, 2.64, kind="other"))


def draw_frontier(measured: Sequence[Point], path: Path) -> None:
    """Write a PNG with two panels: accuracy against latency of what was measured, and of all against size."""
    figure = Figure(figsize=(11, 4.8), dpi=150)
    canvas = FigureCanvasAgg(figure)
    known = [*measured, *PUBLISHED]
    panels = (("median latency of one sentence in ms, one thread", measured, [one.milliseconds for one in measured]),
              ("size on disk in MB", known, [one.megabytes for one in known]))
    every = [point.accuracy for point in known]
    margin = 0.1 * (max(every) - min(every))
    drawn = []
    for number, (label, points, places) in enumerate(panels, 1):
        axes = figure.add_subplot(1, 2, number)
        axes.scatter(places, [point.accuracy for point in points], s=_DOT_POINTS ** 2, linewidths=1.2,
                     edgecolors=[_COLOURS[point.kind] for point in points],
                     c=["white" if point.kind == "other" else _COLOURS[point.kind] for point in points], zorder=2)
        axes.set_xscale("log")
        axes.set_xlim(min(places) / 3, max(places) * 3)
        axes.set_ylim(min(every) - margin, max(every) + margin)
        axes.xaxis.set_major_locator(LogLocator())
        axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.set_xlabel(label)
        axes.set_ylabel("accuracy on SST-2's dev set in %" if number == 1 else "")
        axes.grid(color="#e5e5e5", zorder=0)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
        drawn.append((axes, points, places))
    figure.tight_layout()
    for axes, points, places in drawn:
        place_labels(canvas, axes, [point.name for point in points],
                     [(place, point.accuracy) for place, point in zip(places, points)],
                     np.full(len(points), _DOT_POINTS))
    canvas.print_png(str(path))
