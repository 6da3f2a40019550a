"""Copies of a photograph are recognised, other photographs are not."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from rca.checks.likeness import BITS, MIRROR, SAME, fingerprint, nearest


def photograph(seed: int, size: tuple[int, int] = (300, 200)) -> Image.Image:
    """Patches of colour under fine grain."""
    rng = np.random.default_rng(seed)
    patches = Image.fromarray(rng.integers(0, 256, (20, 30, 3), np.uint8)).resize(size)
    grain = rng.normal(0, 6, (size[1], size[0], 1))
    return Image.fromarray(np.clip(np.asarray(patches) + grain, 0, 255).astype(np.uint8))


def as_jpeg(image: Image.Image) -> Image.Image:
    file = io.BytesIO()
    image.save(file, format="JPEG", quality=40)
    return Image.open(file)


def scaled(image: Image.Image) -> Image.Image:
    return image.resize((round(0.7 * image.width), round(0.7 * image.height)))


def mirrored(image: Image.Image) -> Image.Image:
    return image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)


OTHERS = [fingerprint(photograph(seed)) for seed in range(20)]


@pytest.mark.parametrize(
    ("change", "is_mirrored"),
    [(as_jpeg, False), (scaled, False), (mirrored, True), (lambda x: as_jpeg(mirrored(x)), True)],
)
def test_nearest__recognises_a_copy_among_others(change, is_mirrored):
    ((place, differ, flipped),) = nearest([fingerprint(change(photograph(7)))], OTHERS)
    assert place == 7 and differ <= SAME // 2 and flipped == is_mirrored


def test_nearest__different_photographs_differ():
    found = list(nearest([fingerprint(photograph(seed)) for seed in range(100, 120)], OTHERS))
    assert min(differ for _, differ, _ in found) > SAME


def test_nearest__counts_the_signs_that_differ(monkeypatch):
    monkeypatch.setattr("rca.checks.likeness.ROWS", 4)  # fewer than there are
    signs = np.random.default_rng(0).choice(np.array([-1, 1], np.int8), (12, BITS))
    mirrored = signs * MIRROR
    for row, (place, differ, flipped) in enumerate(nearest(signs[:9], signs[9:])):
        counts = [
            [int((side[row] != other).sum()) for other in signs[9:]] for side in (signs, mirrored)
        ]
        assert differ == np.min(counts) == counts[flipped][place]


def test_fingerprint__of_a_plain_surface_is_none():
    assert fingerprint(Image.new("RGB", (12, 8), (200, 10, 30))) is None
