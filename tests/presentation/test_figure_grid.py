"""Figures for a paper: every pixel in its place, text as text."""

from __future__ import annotations

import re
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from rca.presentation.figure_grid import HATCHED, Row, tile, write_figure

DPI = 80
TILE = tile(DPI)
NOISE = np.random.default_rng(0).integers(0, 256, (TILE[1], TILE[0], 3), np.uint8)
SMALL = Image.fromarray(NOISE[:40, :50])
LEGEND = {f"class {number}": "#0000ff" for number in range(9)} | {HATCHED: "none"}


def drawn(folder: Path, rows: list[Row], titles=("one", "two"), legend=LEGEND) -> np.ndarray:
    write_figure([folder / "figure.png"], titles, rows, legend, DPI)
    with Image.open(folder / "figure.png") as picture:
        return np.asarray(picture.convert("RGB"))


def found(picture: np.ndarray, part: np.ndarray) -> list[tuple[int, int]]:
    """Places, (row, column), where `part` stands in `picture` to the last bit."""
    starts = np.argwhere((picture == part[0, 0]).all(axis=-1))
    height, width = part.shape[:2]
    return [
        (int(y), int(x))
        for y, x in starts
        if np.array_equal(picture[y : y + height, x : x + width], part)
    ]


def test_write_figure__pictures_are_not_resampled_and_stand_in_rows_and_columns(tmp_path):
    large = Image.fromarray(NOISE)
    picture = drawn(tmp_path, [Row([large, SMALL], "cat", "#400000"), Row([None, large])])
    (first, second), (small, _) = found(picture, NOISE), found(picture, NOISE[:40, :50])[:2]
    ((top, left), (below, right)) = first, second
    gap = round(0.05 * DPI)
    assert (below - top, right - left) == (TILE[1] + gap, TILE[0] + gap)
    assert small == (top, left)  # the corner of the large one itself
    narrow = next(place for place in found(picture, NOISE[:40, :50]) if place[1] > right)
    assert narrow == (top + (TILE[1] - 40) // 2, right + (TILE[0] - 50) // 2)
    bar = (picture == (64, 0, 0)).all(axis=-1)
    assert bar[top : top + TILE[1], :left].any(axis=1).all() and not bar[below:].any()


def test_write_figure__same_bytes_every_time(tmp_path):
    for name in ("a", "b"):
        files = [tmp_path / f"{name}.png", tmp_path / f"{name}.pdf"]
        write_figure(files, ["one"], [Row([SMALL], "cat", "#400000")], LEGEND, DPI)
    for suffix in ("png", "pdf"):
        first, second = (tmp_path / f"{name}.{suffix}" for name in ("a", "b"))
        assert first.read_bytes() == second.read_bytes()
        assert b"Matplotlib" not in first.read_bytes()


def test_write_figure__pdf_holds_letters_and_the_pictures_own_pixels(tmp_path):
    write_figure([tmp_path / "f.pdf"], ["Photograph"], [Row([SMALL])], {}, DPI)
    content = (tmp_path / "f.pdf").read_bytes()
    assert b"/FontFile2" in content and b"/ToUnicode" in content
    assert b"/Width 50" in content and b"/Height 40" in content
    streams = re.findall(rb"stream\r?\n(.*?)\r?\nendstream", content, re.DOTALL)
    pages = [text for stream in streams if b" Tf" in (text := _inflated(stream))]
    assert len(pages) == 1


def _inflated(stream: bytes) -> bytes:
    try:
        return zlib.decompress(stream)
    except zlib.error:
        return b""


@pytest.mark.parametrize("classes", [1, 20, 80])
def test_write_figure__legend_shows_every_class_below_the_pictures(tmp_path, classes):
    legend = {f"class {number}": f"#0000{100 + number:02x}" for number in range(classes)}
    picture = drawn(tmp_path, [Row([SMALL, SMALL])], legend=legend)
    bottom = max(y for y, _ in found(picture, NOISE[:40, :50])) + 40
    foot = picture[bottom:].reshape(-1, 3)
    for number in range(classes):
        assert (foot == (0, 0, 100 + number)).all(axis=-1).sum() > 20, number
    assert (picture[-2:] == 255).all()


def test_write_figure__of_nothing_is_still_a_picture(tmp_path):
    assert drawn(tmp_path, [], titles=()).size > 0
