"""VOC's colours."""

from __future__ import annotations

import numpy as np
import pytest

from rca.data.palette import voc_palette


@pytest.mark.parametrize(
    ("value", "colour"),
    [
        (0, (0, 0, 0)),
        (1, (128, 0, 0)),  # aeroplane
        (2, (0, 128, 0)),  # bicycle
        (8, (64, 0, 0)),  # cat
        (15, (192, 128, 128)),  # person
        (20, (0, 64, 128)),  # tvmonitor
        (255, (224, 224, 192)),  # ignored
    ],
)
def test_voc_palette__known_colours(value, colour):
    assert tuple(voc_palette()[value].tolist()) == colour


def test_voc_palette__equals_the_naive_loop():
    expected = []
    for value in range(256):
        colour = [0, 0, 0]
        for bit in range(24):
            if value >> bit & 1:
                colour[bit % 3] += 128 >> (bit // 3)
        expected.append(colour)
    assert voc_palette().tolist() == expected


def test_voc_palette__no_two_values_share_a_colour():
    assert voc_palette().dtype == np.uint8
    assert len(np.unique(voc_palette(), axis=0)) == 256
