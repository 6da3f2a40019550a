"""Figures for a paper: pictures in rows and columns, as PNG and as PDF with searchable text."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib.style
import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle
from PIL import Image

from rca.runtime.files import new_file

# Inches; a figure of four columns is as wide as the text of a page in two columns.
TILE = (1.5, 1.125)
GAP, MARGIN, LINE, SIDE = 0.05, 0.1, 0.18, 0.24
CHARACTER = 0.075  # of a wide letter
POINTS = 8
INK = "#222222"
HATCHED = "255 (ignored)"
# Without the time and matplotlib's version, so that the same input gives the same bytes.
METADATA = {
    "png": {"Software": None},
    "pdf": dict.fromkeys(("CreationDate", "Creator", "Producer")),
}
# Matplotlib's defaults, whatever the user's matplotlibrc says; the fonts keep text searchable.
STYLE = ("default", {"pdf.fonttype": 42, "savefig.pad_inches": 0})


@dataclass(frozen=True)
class Row:
    """A row of a figure.

    Attributes:
        pictures: one per column, each at most `tile(dpi)` large; None leaves the place empty.
        name: the name of its class, written beside it.
        colour: the colour of the bar beside the name, as `#rrggbb`.
    """

    pictures: Sequence[Image.Image | None]
    name: str = ""
    colour: str = "none"


def tile(dpi: int) -> tuple[int, int]:
    """Compute the width and height in pixels of the largest picture that fits."""
    return round(TILE[0] * dpi), round(TILE[1] * dpi)


def write_figure(
    files: Sequence[Path],
    titles: Sequence[str],
    rows: Sequence[Row],
    legend: Mapping[str, str],
    dpi: int,
) -> None:
    """Write one figure to `files`, each atomically; no pixel of a picture is resampled.

    Args:
        files: the files to write, each `.png` or `.pdf`.
        titles: the titles of the columns.
        rows: the rows, from top to bottom.
        legend: class → colour as `#rrggbb`, for the foot; `HATCHED` stands for hatching.
        dpi: the number of pixels per inch.
    """
    with matplotlib.style.context(STYLE):
        figure = _figure(titles, rows, legend, dpi)
        for file in files:
            kind = file.suffix[1:]
            with new_file(file) as partial:
                figure.savefig(partial, format=kind, dpi=dpi, metadata=METADATA[kind])


def _figure(
    titles: Sequence[str], rows: Sequence[Row], legend: Mapping[str, str], dpi: int
) -> Figure:
    """Lay out the figure, in pixels."""
    gap, margin, line, side = (round(inches * dpi) for inches in (GAP, MARGIN, LINE, SIDE))
    step = tile(dpi)[0] + gap
    left = margin + (side if any(row.name for row in rows) else 0)
    width = left + step * len(titles) - gap + margin
    wrapped = ["\n".join(textwrap.wrap(title, int(TILE[0] / CHARACTER))) for title in titles]
    top = margin + line * max((title.count("\n") + 1 for title in wrapped), default=0) + gap
    heights = [max((shown.height for shown in row.pictures if shown), default=0) for row in rows]
    columns, lines = _legend_size(legend, width / dpi)
    height = top + sum(heights) + gap * len(rows) + line * lines + margin
    figure = Figure((width / dpi, height / dpi), dpi=dpi)
    for column, title in enumerate(wrapped):
        place = ((left + step * column + tile(dpi)[0] / 2) / width, 1 - (top - gap) / height)
        figure.text(*place, title, color=INK, fontsize=POINTS, ha="center", va="bottom")
    for row, row_height in zip(rows, heights, strict=True):
        if row.name:
            _name(figure, row, (margin, top, side, row_height))
        for column, picture in enumerate(row.pictures):
            if picture:
                x = left + step * column + (step - gap - picture.width) // 2
                _place(figure, picture, x, top + (row_height - picture.height) // 2)
        top += row_height + gap
    if legend:
        _legend(figure, legend, columns)
    return figure


def _place(figure: Figure, picture: Image.Image, left: int, top: int) -> None:
    axes = figure.add_axes(_box(figure, left, top, *picture.size))
    axes.imshow(np.asarray(picture), interpolation="none", aspect="auto")
    axes.axis("off")


def _name(figure: Figure, row: Row, box: tuple[int, int, int, int]) -> None:
    """Write a row's rotated name, and a bar in its colour: some colours are too pale for text."""
    left, bottom, width, height = _box(figure, *box)
    figure.text(
        left + 0.3 * width, bottom + height / 2, row.name,
        color=INK, fontsize=POINTS, rotation=90, ha="center", va="center",
    )  # fmt: skip
    bar = Rectangle((left + 0.66 * width, bottom), 0.16 * width, height, color=row.colour, lw=0)
    figure.add_artist(bar)


def _box(
    figure: Figure, left: int, top: int, width: int, height: int
) -> tuple[float, float, float, float]:
    """Convert pixels from the upper left corner to shares from the lower left one."""
    whole_width, whole_height = (round(inches * figure.dpi) for inches in figure.get_size_inches())
    return (
        left / whole_width,
        (whole_height - top - height) / whole_height,
        width / whole_width,
        height / whole_height,
    )


def _legend_size(legend: Mapping[str, str], inches: float) -> tuple[int, int]:
    """Compute the numbers of columns and lines of the legend."""
    if not legend:
        return 0, 0
    entry = CHARACTER * max(map(len, legend)) + 0.35
    columns = max(min(int(inches / entry), len(legend)), 1)
    return columns, math.ceil(len(legend) / columns)


def _legend(figure: Figure, legend: Mapping[str, str], columns: int) -> None:
    handles = [
        Patch(facecolor="white", edgecolor="#888888", hatch="//////", lw=0.4, label=name)
        if name == HATCHED
        else Patch(facecolor=colour, edgecolor="#888888", lw=0.4, label=name)
        for name, colour in legend.items()
    ]
    figure.legend(
        handles=handles, ncols=columns, loc="lower center", frameon=False, fontsize=POINTS,
        labelcolor=INK, handlelength=1.4, handleheight=0.9, columnspacing=1.4, labelspacing=0.3,
        borderpad=0.2,
    )  # fmt: skip
