"""Masks as run lengths, in the formats of COCO and of Label Studio's brush."""

from __future__ import annotations

from typing import Any

import numpy as np
from pycocotools import mask as coco

# The format of thi.ng/rle-pack, which Label Studio uses. The header has 32 bits for the number of
# words, 5 for the bits of a word and 4 × 4 for the bits of counts, the latter two stored less one.
# Each run is a 1, two bits that choose the bits of its count, the count less one and the word.
# (Words that do not repeat could be packed after a 0.)
WORD = 8
COUNT_BITS = np.array([3, 4, 8, 16])
LONGEST = 1 << 16
CHANNELS = 4  # a brush region is an RGBA picture


def coco_rle(region: np.ndarray) -> dict[str, Any]:
    """Encode a region, bool (H, W), as COCO's compressed RLE, with its counts as text."""
    rle = coco.encode(np.asfortranarray(region, np.uint8))
    return {"size": list(rle["size"]), "counts": rle["counts"].decode("ascii")}


def coco_box(rle: dict[str, Any]) -> list[float]:
    """Return the left, top, width and height of the region."""
    return coco.toBbox(rle).tolist()


def brush_rle(region: np.ndarray) -> list[int]:
    """Encode a region, bool (H, W), not empty, as the bytes that Label Studio's brush stores."""
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
    """Split the runs into pieces no longer than `LONGEST`."""
    pieces = -(-counts // LONGEST)
    split = np.full(pieces.sum(), LONGEST)
    split[np.cumsum(pieces) - 1] = counts - (pieces - 1) * LONGEST
    return split, np.repeat(words, pieces)


def _packed(codes: list[int], widths: list[int]) -> list[int]:
    """Pack the codes into bytes, one after the other, each in its width in bits."""
    shifts = np.arange(max(widths) - 1, -1, -1)
    taken = shifts < np.array(widths)[:, None]
    bits = (np.array(codes)[:, None] >> shifts & 1).astype(np.uint8)
    return np.packbits(bits[taken]).tolist()
