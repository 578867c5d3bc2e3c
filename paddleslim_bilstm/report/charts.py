"""Charts as SVG for a page, which colours them: lines, and dots with names that don't cover one another."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Iterable, Sequence

from markupsafe import Markup, escape

WIDTH, HEIGHT = 460, 300
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 14, 14, 44
_LETTER, _CAPITAL, _LINE = 6.1, 8.6, 13  # of a name, in pixels; Chinese letters are as wide as a line is high
_LARGEST_DOT, _SMALLEST_DOT = 20, 4  # radius
_MOST_TICKS = 6


@dataclass(frozen=True)
class Line:
    """A line of a chart.

    Attributes:
        name: in the legend.
        points: ``(x, y)``, x rising.
        look: the class that the page's style colours.
        marked: the place, in ``points``, of one that a ring stands around.
    """

    name: str
    points: Sequence[tuple[float, float]]
    look: str
    marked: int | None = None


@dataclass(frozen=True)
class Dot:
    """A dot of a chart: its name, place, share of the largest area, and the class that the page's style colours."""

    name: str
    x: float
    y: float
    area: float
    look: str


@dataclass(frozen=True)
class Scale:
    """Numbers of an axis to pixels; logarithmic where they are far apart."""

    low: float
    high: float
    first: float
    last: float
    log: bool = False

    def __call__(self, value: float) -> float:
        low, high, value = (map(math.log10, (self.low, self.high, value)) if self.log
                            else (self.low, self.high, value))
        return self.first + (value - low) / (high - low) * (self.last - self.first)

    @property
    def ticks(self) -> list[float]:
        """Round numbers within the axis."""
        if self.log:
            found = [base * 10.0 ** power for power in range(-9, 13) for base in (1, 2, 5)]
            inside = [one for one in found if self.low <= one <= self.high]
            powers = [one for one in inside if math.isclose(math.log10(one) % 1, 0, abs_tol=1e-9)]
            return powers if len(inside) > _MOST_TICKS and len(powers) > 1 else inside
        step = 10.0 ** math.floor(math.log10((self.high - self.low) / 4))
        step *= next(factor for factor in (1, 2, 5, 10) if (self.high - self.low) / (step * factor) <= _MOST_TICKS)
        first = math.ceil(self.low / step - 1e-9)
        return [round(step * number, 12) for number in range(first, math.floor(self.high / step + 1e-9) + 1)]


def line_chart(lines: Sequence[Line], x_label: str, y_label: str, unit_square: bool = False) -> Markup:
    """Return the chart of one line or more; a tooltip tells each point.

    Args:
        unit_square: both axes go from 0 to 1, with a diagonal where y is x.
    """
    x_axis, y_axis = (Scale(0, 1, *ends) for ends in ((_LEFT, WIDTH - _RIGHT), (HEIGHT - _BOTTOM, _TOP)))
    if not unit_square:
        x_axis = _scale([x for line in lines for x, _ in line.points], x_axis.first, x_axis.last, 0.0)
        y_axis = _scale([y for line in lines for _, y in line.points], y_axis.first, y_axis.last, 0.08)
    parts = [_axes(x_axis, y_axis, x_label, y_label)]
    if unit_square:
        parts.append(f'<line class="guide" x1="{_LEFT}" y1="{HEIGHT - _BOTTOM}" x2="{WIDTH - _RIGHT}" y2="{_TOP}"/>')
    for line in lines:
        places = [(x_axis(x), y_axis(y)) for x, y in line.points]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
        parts.append(f'<polyline class="line {line.look}" points="{path}"/>')
        for number, ((x, y), (across, up)) in enumerate(zip(line.points, places)):
            told = escape(f"{line.name}: {up_to_four(y)} at {up_to_four(x)}")
            if number == line.marked:
                parts.append(f'<circle class="chosen {line.look}" cx="{across:.1f}" cy="{up:.1f}" r="7"/>')
            parts.append(f'<circle class="point {line.look}" cx="{across:.1f}" cy="{up:.1f}" r="2.6">'
                         f'<title>{told}</title></circle>')
    return _svg(parts, f"{y_label} over {x_label}")


def dot_chart(dots: Sequence[Dot], x_label: str, y_label: str, log: bool = True) -> Markup:
    """Return the chart of dots, each with its name beside it, where it covers no dot and no other name."""
    y_axis = _scale([dot.y for dot in dots], HEIGHT - _BOTTOM, _TOP, 0.3)
    x_axis = _scale([dot.x for dot in dots], _LEFT, WIDTH - _RIGHT, 0.14, log)
    radii = [max(_LARGEST_DOT * math.sqrt(dot.area), _SMALLEST_DOT) for dot in dots]
    circles = [(x_axis(dot.x), y_axis(dot.y), radius) for dot, radius in zip(dots, radii)]
    parts = [_axes(x_axis, y_axis, x_label, y_label)]
    parts += [f'<circle class="dot {dot.look}" cx="{x:.1f}" cy="{y:.1f}" r="{radius:.1f}"><title>'
              f'{escape(f"{dot.name}: {up_to_four(dot.y)} at {up_to_four(dot.x)}")}</title></circle>'
              for dot, (x, y, radius) in zip(dots, circles)]
    taken = [(x - radius, y - radius, x + radius, y + radius) for x, y, radius in circles]
    for dot, (x, y, radius) in sorted(zip(dots, circles), key=lambda pair: -pair[1][2]):
        if not dot.name:
            continue
        box, far = _free_place(x, y, radius, _width(dot.name), taken)
        taken.append(box)
        if far:
            nearest = min(max(x, box[0]), box[2]), min(max(y, box[1]), box[3])
            parts.append(f'<line class="leader" x1="{x:.1f}" y1="{y:.1f}" x2="{nearest[0]:.1f}" '
                         f'y2="{nearest[1]:.1f}"/>')
        parts.append(f'<text class="name" x="{(box[0] + box[2]) / 2:.1f}" y="{box[3] - 3:.1f}">{escape(dot.name)}'
                     "</text>")
    return _svg(parts, f"{y_label} against {x_label}")


def places_around() -> list[tuple[float, float]]:
    """Where a name may stand: distances from its dot's edge and directions in radians, best first."""
    return [(distance, math.radians(angle)) for distance in (4, 9, 16, 24, 34, 46, 60, 76)
            for angle in (0, 90, 270, 45, 315, 180, 135, 225, 20, 340, 70, 290)]


def up_to_four(value: float) -> str:
    """Return a number with at most four digits behind others: ``0.86012 -> "0.8601"``, ``2000.0 -> "2,000"``."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def _width(name: str) -> float:
    return sum(_LINE if letter > "\u2e80" else _CAPITAL if letter.isupper() else _LETTER for letter in name)


def _free_place(x: float, y: float, radius: float, width: float, taken: Iterable[tuple[float, ...]]
                ) -> tuple[tuple[float, float, float, float], bool]:
    """Return the box of a name near a dot, and whether it is too far away to be taken for the dot's."""
    box, distance = (x, y, x, y), 0.0
    for distance, angle in places_around():
        across, up = (radius + distance) * math.cos(angle), (radius + distance) * math.sin(angle)
        left = x + across - (0 if across > 1 else width if across < -1 else width / 2)
        box = left, y - up - _LINE / 2, left + width, y - up + _LINE / 2
        inside = _LEFT <= box[0] and box[2] <= WIDTH and 0 <= box[1] and box[3] <= HEIGHT - _BOTTOM
        if inside and not any(box[0] < other[2] and other[0] < box[2] and box[1] < other[3] and other[1] < box[3]
                              for other in taken):
            break
    return box, distance > 10


def _scale(values: Sequence[float], first: float, last: float, margin: float, log: bool = False) -> Scale:
    """Return the scale of ``values``, with ``margin`` of their range left at either end."""
    low, high = min(values), max(values)
    log = log and low > 0
    if log:
        margin = max(margin * math.log10(high / low), 0.35)
        return Scale(low / 10 ** margin, high * 10 ** margin, first, last, log)
    margin = max(margin * (high - low), 0.005 * abs(high)) or 1e-3
    return Scale(low - margin, high + margin, first, last)


def _axes(x_axis: Scale, y_axis: Scale, x_label: str, y_label: str) -> str:
    parts = []
    for tick in y_axis.ticks:
        parts.append(f'<line class="grid" x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{y_axis(tick):.1f}" '
                     f'y2="{y_axis(tick):.1f}"/><text class="tick" text-anchor="end" x="{_LEFT - 6}" '
                     f'y="{y_axis(tick) + 4:.1f}">{up_to_four(tick)}</text>')
    for tick in x_axis.ticks:
        parts.append(f'<line class="grid" y1="{_TOP}" y2="{HEIGHT - _BOTTOM}" x1="{x_axis(tick):.1f}" '
                     f'x2="{x_axis(tick):.1f}"/><text class="tick" text-anchor="middle" x="{x_axis(tick):.1f}" '
                     f'y="{HEIGHT - _BOTTOM + 16}">{up_to_four(tick)}</text>')
    middle = (_TOP + HEIGHT - _BOTTOM) / 2
    parts.append(f'<text class="axis" text-anchor="middle" x="{(_LEFT + WIDTH - _RIGHT) / 2}" y="{HEIGHT - 8}">'
                 f'{escape(x_label)}</text><text class="axis" text-anchor="middle" transform="translate(13 {middle}) '
                 f'rotate(-90)">{escape(y_label)}</text>')
    return "".join(parts)


def _svg(parts: Sequence[str], what: str) -> Markup:
    return Markup(f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(what)}">{"".join(parts)}</svg>')
