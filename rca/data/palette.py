"""The VOC colour map: label value → colour, as the development kit defines it."""

from __future__ import annotations

import numpy as np


def voc_palette() -> np.ndarray:
    """Compute the colours of the 256 label values, uint8 (256, 3).

    Bit 3k + c of the label is bit 7 - k of channel c.
    """
    colours = np.zeros((256, 3), dtype=np.uint8)
    values = np.arange(256)
    for bit in range(8):
        for channel in range(3):
            colours[:, channel] |= (((values >> channel) & 1) << (7 - bit)).astype(np.uint8)
        values >>= 3
    return colours
