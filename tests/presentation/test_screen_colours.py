"""Colours for screens: seen on both pages, told apart, the same each time."""

from __future__ import annotations

import numpy as np
import pytest

from rca.data.palette import voc_palette
from rca.evaluation.published.paper_tables import VOC_CLASSES
from rca.presentation.screen_colours import PAGES, SIGHTS, _lab, contrast, screen_palette

NAMES = tuple(name for name in VOC_CLASSES if name != "background")
PAIRS = {  # as often together as in VOC, about
    ("person", "chair"): 6, ("person", "horse"): 4, ("person", "bicycle"): 4, ("person", "car"): 4,
    ("person", "motorbike"): 4, ("person", "bottle"): 4, ("person", "dog"): 3,
    ("chair", "diningtable"): 5, ("chair", "sofa"): 4, ("chair", "tvmonitor"): 2, ("bus", "car"): 2,
}  # fmt: skip
TAGS = [pair for pair, times in PAIRS.items() for _ in range(times)]


def test_contrast__is_that_of_wcag():
    assert contrast((0, 0, 0), (255, 255, 255)) == pytest.approx(21)
    assert contrast((0x77, 0x77, 0x77), (255, 255, 255)) == pytest.approx(4.48, abs=0.01)
    assert contrast(voc_palette()[8], PAGES[1]) < 1.1  # cat: why there are other colours


@pytest.mark.parametrize("classes", [NAMES[:1], NAMES, [f"c{n}" for n in range(80)]])
def test_screen_palette__is_seen_on_both_pages(classes):
    palette = screen_palette(classes, [])
    for label in range(1, len(classes) + 1):
        assert all(contrast(palette[label], page) >= 3 for page in PAGES), palette[label]
    used = {*map(tuple, palette[: len(classes) + 1].tolist()), tuple(palette[255].tolist())}
    assert len(used) == len(classes) + 2  # labels are read back from the colours


def test_screen_palette__keeps_frequent_pairs_apart_for_the_colour_blind():
    palette = screen_palette(NAMES, TAGS)

    def least(one: str, two: str) -> float:
        pair = palette[[1 + NAMES.index(one), 1 + NAMES.index(two)]]
        return min(float(np.linalg.norm(np.subtract(*_lab(pair, sight)))) for sight in SIGHTS)

    assert min(least(*pair) for pair in PAIRS) > 0.1  # 0.02 is just seen
    # Without the tags, some of these pairs look much the same to some.
    palette = screen_palette(NAMES, [])
    assert min(least(*pair) for pair in PAIRS) < 0.1


def test_screen_palette__same_data_same_colours():
    np.testing.assert_array_equal(screen_palette(NAMES, TAGS), screen_palette(NAMES, iter(TAGS)))
