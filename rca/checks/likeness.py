"""Photographs that are the same picture under other pixels: compressed, scaled or mirrored anew.

A fingerprint is a perceptual hash: the signs of the lowest frequencies of a small grey copy, from
the discrete cosine transform. On the 1,277 photographs of VOC 2012 that hold its six animals, this
many of its 255 signs differ: up to 8 in a JPEG of quality 40, up to 18 at 0.3 times the size, and
84 or more between different photographs (87 if one is mirrored). A copy that lost a few percent at
an edge may not be recognised.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from PIL import Image
from scipy.fft import dctn

SMALL = 32  # pixels of the grey copy's sides
KEPT = 16  # frequencies in each direction
BITS = KEPT * KEPT - 1  # the lowest is the brightness, which tells nothing
SAME = 40  # bits that may differ between copies of one photograph
PLAIN = 2.0  # grey levels: standard deviation below which a picture shows nothing to go by
ROWS = 1024  # fingerprints held against all others at a time
# A mirror image has the same frequencies, the odd ones across with the other sign.
MIRROR = np.tile(np.where(np.arange(KEPT) % 2, -1, 1), KEPT)[1:].astype(np.int8)


def fingerprint(photograph: Image.Image) -> np.ndarray | None:
    """Signs of its lowest frequencies, int8 (`BITS`,) of -1 and 1; None of a plain surface."""
    small = photograph.convert("L").resize((SMALL, SMALL), Image.Resampling.BOX)
    grey = np.asarray(small, np.float64)
    if grey.std() < PLAIN:
        return None
    frequencies = dctn(grey, norm="ortho")[:KEPT, :KEPT].ravel()[1:]
    return np.where(frequencies > 0, 1, -1).astype(np.int8)


def nearest(
    prints: Sequence[np.ndarray], others: Sequence[np.ndarray]
) -> Iterator[tuple[int, int, bool]]:
    """For each of `prints` the most alike of `others`: its place, the bits that differ, mirrored?

    Args:
        prints: N fingerprints.
        others: M of them, M > 0.
    """
    # With signs, a product of matrices counts: equal bits less different ones.
    columns = np.stack(others).astype(np.float32).T  # (BITS, M)
    for start in range(0, len(prints), ROWS):
        rows = np.stack(prints[start : start + ROWS])
        upright, mirrored = (side.astype(np.float32) @ columns for side in (rows, rows * MIRROR))
        likeness = np.maximum(upright, mirrored)
        for row, place in enumerate(likeness.argmax(axis=1).tolist()):
            differ = (BITS - int(likeness[row, place])) // 2
            yield place, differ, bool(mirrored[row, place] > upright[row, place])
