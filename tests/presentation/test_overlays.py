"""Pictures: what is seen where."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from rca.presentation.overlays import HEAT, draw_cam, draw_labels, draw_spot, fit

PALETTE = np.zeros((256, 3), np.uint8)
PALETTE[1], PALETTE[2] = (255, 0, 0), (0, 0, 255)
GREY = Image.new("RGB", (60, 40), (100, 100, 100))


def drawn(labels: np.ndarray) -> np.ndarray:
    return np.asarray(draw_labels(GREY, labels.astype(np.uint8), PALETTE)).astype(int)


@pytest.mark.parametrize(
    ("size", "box", "fitted"),
    [
        ((500, 375), (320, 320), (320, 240)),
        ((375, 500), (320, 320), (240, 320)),
        ((100, 50), (240, 180), (240, 120)),
        ((1000, 1), (240, 180), (240, 1)),
    ],
)
def test_fit__keeps_the_aspect(size, box, fitted):
    assert fit(Image.new("RGB", size), *box).size == fitted


def test_draw_labels__tints_each_class_and_leaves_the_background_untinted():
    labels = np.zeros((40, 60))
    labels[:, 20:40], labels[:, 40:] = 1, 2
    picture = drawn(labels)
    background, first, second = picture[20, 10], picture[20, 30], picture[20, 50]
    assert background[0] == background[1] == background[2] > 100
    assert first[0] > 180 and first[1] == first[2] < 80
    assert second[2] > 180 and second[0] == second[1] < 80


def test_draw_labels__outlines_a_class_in_white_and_its_own_colour():
    labels = np.zeros((40, 60))
    labels[:, 30:] = 1
    row = drawn(labels)[20]
    assert row[29].tolist() == [255, 255, 255]
    assert row[30].tolist() == [255, 0, 0]
    assert 100 < row[15, 1] < 255 and 0 < row[45, 1] < 255


def test_draw_labels__ignored_pixels_are_hatched_and_have_no_outline():
    labels = np.zeros((40, 60))
    labels[:, 30:] = 255
    picture = drawn(labels)
    ignored, background = picture[:, 34:], picture[:, :28]
    assert ignored.min() > background.max() and len(np.unique(ignored)) > 1
    assert len(np.unique(background)) == 1


def test_draw_labels__any_size_of_labels():
    labels = np.zeros((10, 15))
    labels[5:] = 1
    np.testing.assert_array_equal(drawn(labels)[38], drawn(np.kron(labels, np.ones((4, 4))))[38])


def test_draw_cam__is_hotter_where_the_score_is_higher():
    scores = np.repeat(np.linspace(0, 1, 60, dtype=np.float32)[None], 40, axis=0)
    picture = np.asarray(draw_cam(GREY, scores, 2.0)).astype(int)[20]
    assert (np.diff(picture[:, 0]) >= -1).all() and picture[-1, 0] > picture[0, 0] + 80
    expected = 100 + 0.75 * (HEAT[-1] - 100)
    np.testing.assert_allclose(picture[-1], expected, atol=4)


def test_draw_cam__draws_a_line_at_the_threshold():
    scores = np.repeat(np.linspace(0, 1, 60, dtype=np.float32)[None], 40, axis=0)
    picture = np.asarray(draw_cam(GREY, scores, 0.5)).astype(int)[20]
    assert picture.min(axis=1).argmax() in (29, 30)


@pytest.mark.parametrize(
    ("spot", "centre"),
    [
        ((0.5, 0.5), (48, 48)),
        ((0.0, 0.0), (0, 0)),  # the square stays inside the photograph
        ((1.0, 0.5), (96, 48)),
        ((0.95, 0.9), (67.2, 67.2)),
    ],
)
def test_draw_spot__rings_the_pixel(spot, centre):
    photo = Image.new("RGB", (60, 30), (100, 100, 100))
    picture = np.asarray(draw_spot(photo, *spot, 96)).astype(int)
    assert picture.shape == (96, 96, 3)
    rows, columns = (picture != 100).any(axis=2).nonzero()
    reach = np.hypot(columns + 0.5 - centre[0], rows + 0.5 - centre[1])
    assert 2 < reach.min() < 4 and reach.max() < 7
    assert picture.max() > 240  # white, with black about it
    assert picture.min() < 60


def test_draw_spot__of_a_photograph_of_a_pixel():
    assert draw_spot(Image.new("RGB", (4, 1)), 0.9, 0.5, 96).size == (96, 96)
