"""Masks as run lengths: COCO's, and those of Label Studio's brush."""

from __future__ import annotations

from typing import Any

import numpy as np
from pycocotools import mask as coco

# thi.ng/rle-pack, which Label Studio uses: a header of 32 bits for the number of words, 5 for bits
# a word and 4 times 4 for the sizes of counts, each less one; then for each run a 1, two bits that
# choose a size, the count and the word. (Words that do not repeat could be packed after a 0.)
WORD = 8
COUNT_BITS = np.array([3, 4, 8, 16])
LONGEST = 1 << 16
CHANNELS = 4  # a brush is a picture in RGBA


def coco_rle(region: np.ndarray) -> dict[str, Any]:
    """Compressed RLE of a bool (H, W), with its counts as text."""
    rle = coco.encode(np.asfortranarray(region, np.uint8))
    return {"size": list(rle["size"]), "counts": rle["counts"].decode("ascii")}


def coco_box(rle: dict[str, Any]) -> list[float]:
    """Left, top, width and height of the region."""
    return coco.toBbox(rle).tolist()


def brush_rle(region: np.ndarray) -> list[int]:
    """Bytes of a bool (H, W), not empty, as Label Studio's brush stores them."""
    flat = region.ravel()
    edges = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    starts = np.concatenate([[0], edges])
    counts = np.diff(np.concatenate([starts, [flat.size]])) * CHANNELS
    words = flat[starts].astype(np.int64) * 255
    counts, words = _split(counts, words)
    size = np.searchsorted(1 << COUNT_BITS, counts)
    bits = COUNT_BITS[size]
    codes = (((4 | size) << bits | counts - 1) << WORD) | words  # 4: the 1 of a run
    header = flat.size * CHANNELS
    for value, width in [(WORD - 1, 5), *((count - 1, 4) for count in COUNT_BITS.tolist())]:
        header = header << width | value
    return _packed([header, *codes.tolist()], [53, *(3 + bits + WORD).tolist()])


def _split(counts: np.ndarray, words: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The runs in pieces no longer than `LONGEST`."""
    pieces = -(-counts // LONGEST)
    split = np.full(pieces.sum(), LONGEST)
    split[np.cumsum(pieces) - 1] = counts - (pieces - 1) * LONGEST
    return split, np.repeat(words, pieces)


def _packed(codes: list[int], widths: list[int]) -> list[int]:
    """The codes, each in so many bits, one after the other in bytes."""
    shifts = np.arange(max(widths) - 1, -1, -1)
    taken = shifts < np.array(widths)[:, None]
    bits = (np.array(codes)[:, None] >> shifts & 1).astype(np.uint8)
    return np.packbits(bits[taken]).tolist()
