"""Run lengths against decoders that were written from the formats' descriptions."""

from __future__ import annotations

import numpy as np
import pytest
from pycocotools import mask as coco

from rca.inference.rle import brush_rle, coco_box, coco_rle

# By label-studio-sdk 2.1.2, converter/brush.py, encode_rle(np.repeat(region.ravel() * 255, 4)).
PUBLISHED = [0, 0, 0, 24, 57, 27, 252, 255, 243, 128, 79, 254]


def regions() -> dict[str, np.ndarray]:
    draws = np.random.default_rng(0)
    block = np.zeros((300, 400), bool)
    block[10:290, 20:390] = True
    return {
        "noise": draws.random((17, 23)) < 0.4,
        "full": np.ones((280, 300), bool),  # 336,000 words: several runs of the longest kind
        "block": block,
        "pixel": np.ones((1, 1), bool),
        "row": np.arange(64)[None] % 9 < 4,
    }


def unpacked(rle: list[int]) -> np.ndarray:
    """thi.ng/rle-pack's decoder, word by word."""
    bits = "".join(f"{byte:08b}" for byte in rle)
    at = 0

    def read(count: int) -> int:
        nonlocal at
        at += count
        return int(bits[at - count : at], 2)

    words = read(32)
    width = read(5) + 1
    sizes = [read(4) + 1 for _ in range(4)]
    out: list[int] = []
    while len(out) < words:
        run = read(1)
        count = read(sizes[read(2)]) + 1
        out += [read(width)] * count if run else [read(width) for _ in range(count)]
    assert len(out) == words and len(bits) - at < 8
    return np.array(out)


@pytest.mark.parametrize("name", regions())
def test_brush_rle__unpacks_to_the_region_in_every_channel(name):
    region = regions()[name]
    picture = unpacked(brush_rle(region)).reshape(*region.shape, 4)
    np.testing.assert_array_equal(picture, np.repeat(region[..., None] * 255, 4, axis=2))


def test_brush_rle__is_label_studios_own():
    region = np.array([[1, 1, 0], [0, 1, 1]], bool)
    assert brush_rle(region) == PUBLISHED


@pytest.mark.parametrize("name", regions())
def test_coco_rle__decodes_to_the_region(name):
    region = regions()[name]
    rle = coco_rle(region)
    assert isinstance(rle["counts"], str) and rle["size"] == list(region.shape)
    np.testing.assert_array_equal(coco.decode(rle), region)
    rows, columns = np.nonzero(region)
    box = [columns.min(), rows.min(), np.ptp(columns) + 1, np.ptp(rows) + 1]
    assert coco_box(rle) == box
