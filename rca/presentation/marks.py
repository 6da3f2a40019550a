"""Where two label maps differ, marked with small numbers that a page has colours for."""

from __future__ import annotations

import numpy as np

from rca.config import IGNORE
from rca.presentation.screen_colours import BACKGROUND, IGNORED

SAME, GAINED, LOST, OTHER = range(4)
# Distinguishable with red-green colour blindness, too.
COLOURS = {GAINED: (0, 135, 255), LOST: (240, 120, 0), OTHER: (214, 40, 120)}
MARK_PALETTE = np.tile(np.array(IGNORED, np.uint8), (256, 1))
MARK_PALETTE[SAME] = BACKGROUND
for _mark, _colour in COLOURS.items():
    MARK_PALETTE[_mark] = _colour


def difference(before: np.ndarray, after: np.ndarray, truth: np.ndarray | None) -> np.ndarray:
    """Mark what became of each pixel, uint8 (H, W): `SAME`, `GAINED`, `LOST`, `OTHER` or 255.

    A pixel is `GAINED` if only `after` is right, and `LOST` if only `before` is. Every other
    difference is `OTHER`; without `truth`, every difference is. Where the truth is 255, so is the
    mark.

    Args:
        before: the labels of one result, uint8 (H, W).
        after: the labels of the other, uint8 (H, W).
        truth: the true labels, uint8 (H, W), or None if there are none.
    """
    marks = np.where(before != after, np.uint8(OTHER), np.uint8(SAME))
    if truth is not None:
        marks[(before != after) & (after == truth)] = GAINED
        marks[(before != after) & (before == truth)] = LOST
        marks[truth == IGNORE] = IGNORE
    return marks


def legend(first: str, last: str, truth: bool) -> list[dict[str, object]]:
    """List the colours and texts of the marks, for the page.

    Args:
        first: name of the result that `before` comes from.
        last: name of the result that `after` comes from.
        truth: whether there are true masks.
    """
    texts = {
        GAINED: f"only {last} is right",
        LOST: f"only {first} is right",
        OTHER: "they differ, and neither is right",
    }
    if not truth:
        texts = {OTHER: "they differ"}
    return [{"colour": COLOURS[mark], "text": text} for mark, text in texts.items()]
