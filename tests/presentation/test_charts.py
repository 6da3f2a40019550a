"""Charts as SVG: the right points in the right places."""

from __future__ import annotations

import re
from itertools import pairwise
from xml.etree import ElementTree

import pytest

from rca.presentation.charts import (
    BOTTOM,
    CHARACTER,
    HEIGHT,
    LABEL_HEIGHT,
    LEFT,
    TOP,
    Line,
    history_charts,
    line_chart,
    nice_ticks,
    sweep_chart,
)


def elements(svg: str, name: str) -> list[ElementTree.Element]:
    """Elements whose class begins with `name`."""
    return [
        element
        for element in ElementTree.fromstring(svg).iter()
        if element.get("class", "").split(" ")[0] == name
    ]


def coordinates(path: str) -> list[tuple[float, float]]:
    return [(float(x), float(y)) for x, y in re.findall(r"[ML]([\d.]+) ([\d.]+)", path)]


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [
        (0, 100, [0, 20, 40, 60, 80, 100]),
        (0.31, 1.17, [0.2, 0.4, 0.6, 0.8, 1.0, 1.2]),
        (-3, 4, [-4, -2, 0, 2, 4]),
        (1e-5, 4e-5, [1e-5, 2e-5, 3e-5, 4e-5]),
    ],
)
def test_nice_ticks__are_round_and_enclose_the_values(low, high, ticks):
    assert nice_ticks(low, high) == pytest.approx(ticks)


def test_line_chart__puts_points_where_the_axes_say():
    svg = line_chart([Line("a", [(0, 0.0), (5, 50.0), (10, 100.0)])], x_title="x", y_title="y")
    (curve,) = elements(svg, "line")
    first, middle, last = coordinates(curve.get("d"))
    assert first == (LEFT, HEIGHT - BOTTOM) and last[1] == TOP
    assert middle == pytest.approx(((first[0] + last[0]) / 2, (first[1] + last[1]) / 2))


def ticks(svg: str, anchor: str) -> list[ElementTree.Element]:
    return [tick for tick in elements(svg, "tick") if tick.get("text-anchor") == anchor]


@pytest.mark.parametrize(
    ("last", "labels"), [(1, "0 1 2"), (2, "1 2"), (3, "1 2 3"), (6, "1 2 3 4 5 6")]
)
def test_line_chart__counts_epochs_in_whole_numbers(last, labels):
    points = [(epoch, 1.0 / epoch) for epoch in range(1, last + 1)]
    svg = line_chart([Line("a", points)], x_title="epoch", y_title="loss")
    assert " ".join(tick.text for tick in ticks(svg, "middle")) == labels


def test_line_chart__long_tick_labels_stay_inside():
    svg = line_chart([Line("a", [(1, 1e-5), (2, 1.5e-5)])], x_title="x", y_title="y")
    longest = max(ticks(svg, "end"), key=lambda tick: len(tick.text))
    assert len(longest.text) >= 7
    assert float(longest.get("x")) - CHARACTER * len(longest.text) >= 0


def test_line_chart__a_missing_value_interrupts_the_curve():
    points = [(0, 1.0), (1, 2.0), (2, None), (3, 1.0), (4, 2.0)]
    (curve,) = elements(line_chart([Line("a", points)], x_title="x", y_title="y"), "line")
    assert re.sub(r"[^ML]", "", curve.get("d")) == "MLML"
    assert len(coordinates(curve.get("d"))) == 4


@pytest.mark.parametrize("points", [[(1, 3.0)], [(1, 3.0), (2, 3.0)], [(1, 0.0), (2, 0.0)]])
def test_line_chart__of_a_single_value(points):
    svg = line_chart([Line("a", points)], x_title="x", y_title="y")
    (curve,) = elements(svg, "line")
    assert all(TOP <= y <= HEIGHT - BOTTOM for _, y in coordinates(curve.get("d")))


def test_line_chart__names_of_curves_that_end_together_do_not_overlap():
    lines = [Line(name, [(0, 1.0), (1, 0.0)]) for name in ("one", "two", "three")]
    names = elements(line_chart(lines, x_title="x", y_title="y"), "name")
    heights = sorted(float(name.get("y")) for name in names)
    assert {name.text for name in names} == {"one", "two", "three"}
    assert all(b - a >= LABEL_HEIGHT for a, b in pairwise(heights))
    assert heights[-1] <= HEIGHT - BOTTOM + 4


def test_line_chart__escapes_text():
    svg = line_chart([Line("a", [(0, 1.0), (1, 2.0)])], x_title="a < b", y_title='"&"')
    assert ElementTree.fromstring(svg).get("aria-label") == '"&" by a < b'


def test_history_charts__one_for_each_loss():
    rows = [{"epoch": 1, "loss": 2.0, "auxiliary": 1.0}, {"epoch": 2, "loss": 1.0, "auxiliary": 1}]
    charts = history_charts(rows)
    assert list(charts) == ["loss", "auxiliary"]
    assert all(len(elements(svg, "line")) == 1 for svg in charts.values())
    assert history_charts([]) == {}


def test_sweep_chart__marks_the_threshold():
    names = ("threshold", "miou", "over_activation", "under_activation")
    rows = [dict(zip(names, row, strict=True)) for row in [(0, 10, 90, 0), (1, 20, 0, 100)]]
    svg = sweep_chart(rows, 0.5)
    assert len(elements(svg, "line")) == 3
    (marker,) = elements(svg, "marker")
    ends = [coordinates(curve.get("d")) for curve in elements(svg, "line")]
    middle = (ends[0][0][0] + ends[0][1][0]) / 2
    assert float(re.match(r"M([\d.]+)", marker.get("d"))[1]) == pytest.approx(middle, abs=0.1)
