"""The colours of classes as a page gets them: those for screens, and those of the mask files."""

from __future__ import annotations

import numpy as np

from rca.data.palette import voc_palette


def page_palettes(classes: int, screen: np.ndarray, files: np.ndarray) -> dict[str, list]:
    """Name of a palette → the colours of 0 … C and, last, of 255.

    Args:
        classes: C, without the background.
        screen: uint8 (256, 3), label → colour on a screen.
        files: likewise, in the mask files; VOC's colour for 255 where there is none.
    """
    whole = np.array(files)
    if not whole[255].any():
        whole[255] = voc_palette()[255]
    return {
        name: [*palette[: classes + 1].tolist(), palette[255].tolist()]
        for name, palette in (("screen", screen), ("voc", whole))
    }
