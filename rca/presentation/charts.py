"""Line charts as inline SVG, which take their colours and fonts from the page's style sheet."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT = 420, 230
LEFT, RIGHT, TOP, BOTTOM = 46, 12, 14, 42  # minimum margins: long tick labels push the axis inwards
LABEL_HEIGHT, CHARACTER = 16, 6.6  # of text at 13 pixels


@dataclass(frozen=True)
class Line:
    """A curve; points without a value (None) interrupt it."""

    name: str
    points: Sequence[tuple[float, float | None]]


@dataclass(frozen=True)
class Axis:
    """A linear map of values from `low` to `high` to pixels from `start` to `end`."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        """Convert `value` to its pixel."""
        share = (value - self.low) / (self.high - self.low)
        return self.start + share * (self.end - self.start)


def line_chart(
    lines: Sequence[Line], *, x_title: str, y_title: str, marker: tuple[float, str] | None = None
) -> str:
    """Draw axes, and curves with their names beside their ends, as one SVG element.

    Args:
        lines: the curves; with more than four, colours repeat.
        x_title: the title below the x axis.
        y_title: the name of the values, which is not drawn, but read out by a screen reader.
        marker: the position on the x axis, and the text, of a vertical line.
    """
    known = [(x, y) for line in lines for x, y in line.points if y is not None]
    names = [line.name for line in lines] if len(lines) > 1 else []
    right = WIDTH - RIGHT - (CHARACTER * max(map(len, names)) + 8 if names else 0)
    ticks = nice_ticks(*_span([point[1] for point in known]))
    left = max(LEFT, CHARACTER * max(len(f"{tick:g}") for tick in ticks) + 12)
    places = [point[0] for point in known]
    whole = all(float(place).is_integer() for place in places)
    x = Axis(*(_span(places) if not whole else _whole_span(places)), left, right)
    y = Axis(ticks[0], ticks[-1], HEIGHT - BOTTOM, TOP)
    parts = [_grid(ticks, y, left, right), _x_axis(x, x_title, whole)]
    if marker:
        parts.append(_marker(x(marker[0]), marker[1], (left + right) / 2))
    parts += [_curve(line, x, y, number) for number, line in enumerate(lines)]
    if names:
        parts += _end_labels(lines, y, right)
    title = escape(f"{y_title} by {x_title}")
    return (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{title}" class="chart">'
        + "".join(parts)
        + "</svg>"
    )


def nice_ticks(low: float, high: float, count: int = 5, finest: float = 0.0) -> list[float]:
    """Choose about `count` round values whose first and last enclose `low` and `high`.

    They are at least `finest` apart; 1 gives whole numbers.
    """
    rough = max((high - low) / count, finest)
    unit = 10.0 ** math.floor(math.log10(rough))
    step = next(unit * factor for factor in (1, 2, 5, 10) if unit * factor >= rough * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(number * step, 12) for number in range(first, last + 1)]


def _span(values: Sequence[float]) -> tuple[float, float]:
    """Return the smallest and the largest value; a single value gets some room on both sides."""
    low, high = min(values, default=0.0), max(values, default=1.0)
    room = max(abs(low) * 0.05, 1e-3) if high == low else 0.0
    return low - room, high + room


def _whole_span(values: Sequence[float]) -> tuple[float, float]:
    """Return the smallest and the largest whole number; a single one gets 1 on each side."""
    low, high = min(values, default=0.0), max(values, default=1.0)
    return (low, high) if high > low else (low - 1, high + 1)


def _grid(ticks: Sequence[float], y: Axis, left: float, right: float) -> str:
    return "".join(
        f'<path class="grid" d="M{left:.1f} {y(tick):.1f}H{right:.1f}"/>'
        f'<text class="tick" x="{left - 7:.1f}" y="{y(tick) + 4:.1f}" text-anchor="end">'
        f"{tick:g}</text>"
        for tick in ticks
    )


def _x_axis(x: Axis, title: str, whole: bool) -> str:
    ticks = nice_ticks(x.low, x.high, 6, finest=1.0 if whole else 0.0)
    inside = [tick for tick in ticks if x.low <= tick <= x.high]
    base = HEIGHT - BOTTOM
    labels = "".join(
        f'<text class="tick" x="{x(tick):.1f}" y="{base + 17}" text-anchor="middle">{tick:g}</text>'
        for tick in inside
    )
    middle = (x.start + x.end) / 2
    return (
        f'<path class="axis" d="M{x.start:.1f} {base}H{x.end:.1f}"/>{labels}'
        f'<text class="title" x="{middle:.1f}" y="{HEIGHT - 5}" text-anchor="middle">'
        f"{escape(title)}</text>"
    )


def _marker(position: float, text: str, middle: float) -> str:
    anchor, shift = ("end", -5) if position > middle else ("start", 5)
    return (
        f'<path class="marker" d="M{position:.1f} {TOP}V{HEIGHT - BOTTOM}"/>'
        f'<text class="tick" x="{position + shift:.1f}" y="{TOP + 10}" text-anchor="{anchor}">'
        f"{escape(text)}</text>"
    )


def _curve(line: Line, x: Axis, y: Axis, number: int) -> str:
    path, pen = [], "M"
    for across, up in line.points:
        if up is not None:
            path.append(f"{pen}{x(across):.1f} {y(up):.1f}")
        pen = "M" if up is None else "L"
    return f'<path class="line line-{number % 4}" d="{"".join(path)}"/>'


def _end_labels(lines: Sequence[Line], y: Axis, right: float) -> list[str]:
    """Place names at the height of the curves' last points, apart where they would overlap."""
    ends = {
        number: y([up for _, up in line.points if up is not None][-1])
        for number, line in enumerate(lines)
    }
    order = sorted(ends, key=lambda number: ends[number])
    lowest = HEIGHT - BOTTOM - LABEL_HEIGHT * (len(order) - 1)
    labels, floor = [], float(TOP)
    for place, number in enumerate(order):
        height = max(floor, min(ends[number], lowest + LABEL_HEIGHT * place))
        floor = height + LABEL_HEIGHT
        labels.append(
            f'<text class="name name-{number % 4}" x="{right + 6:.1f}" y="{height + 4:.1f}">'
            f"{escape(lines[number].name)}</text>"
        )
    return labels


def _points(
    rows: Sequence[Mapping[str, float | None]], across: str, up: str
) -> list[tuple[float, float | None]]:
    """Return two columns of a table as points; a row without the first column gives none."""
    return [(x, row[up]) for row in rows if (x := row[across]) is not None]


def history_charts(rows: Sequence[Mapping[str, float | None]]) -> dict[str, str]:
    """Draw a chart of each column of a training's history but `epoch`, with its own scale."""
    columns = [name for name in rows[0] if name != "epoch"] if rows else []
    return {
        name: line_chart([Line(name, _points(rows, "epoch", name))], x_title="epoch", y_title=name)
        for name in columns
    }


def sweep_chart(rows: Sequence[Mapping[str, float | None]], threshold: float) -> str:
    """Draw mIoU, over- and under-activation by background threshold; a line marks `threshold`."""
    names = {
        "miou": "mIoU",
        "over_activation": "over-activation",
        "under_activation": "under-activation",
    }
    lines = [Line(title, _points(rows, "threshold", column)) for column, title in names.items()]
    return line_chart(
        lines,
        x_title="background threshold",
        y_title="mIoU, over- and under-activation in percent",
        marker=(threshold, f"this run: {threshold:g}"),
    )
