"""The picture for places that show no HTML."""

from __future__ import annotations

import numpy as np
from PIL import Image

from rca.drawing.poster import GAP, LINE, MARGIN, TILE, poster

RED, GREEN = Image.new("RGB", TILE, (255, 0, 0)), Image.new("RGB", (120, 180), (0, 255, 0))


def test_poster__places_pictures_in_their_columns():
    picture = np.asarray(poster(["one", "two"], [[RED, GREEN]], {"cat": "#0000ff"}))
    top = MARGIN + LINE
    left, right = picture[top + 90, MARGIN + 120], picture[top + 90, MARGIN + TILE[0] + GAP + 120]
    assert left.tolist() == [255, 0, 0] and right.tolist() == [0, 255, 0]
    beside = picture[top + 90, MARGIN + TILE[0] + GAP + 50]  # GREEN is narrower and centred
    assert beside.tolist() == [255, 255, 255]
    assert (picture[top + 180 + GAP :] == (0, 0, 255)).all(axis=-1).any()


def test_poster__legend_goes_on_in_the_next_line():
    few = poster(["one"], [[RED]], {"cat": "#0000ff"})
    many = poster(["one"], [[RED]], {f"class {number}": "#0000ff" for number in range(8)})
    assert many.width == few.width and many.height > few.height


def test_poster__of_nothing_is_still_a_picture():
    assert poster([], [], {"cat": "#0000ff"}).height > 0
