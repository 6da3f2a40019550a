"""Where two label maps differ, as small numbers that a page has colours for."""

from __future__ import annotations

import numpy as np

from rca.config import IGNORE
from rca.presentation.screen_colours import BACKGROUND, IGNORED

SAME, GAINED, LOST, OTHER = range(4)
# Apart from each other with red-green blindness, too.
COLOURS = {GAINED: (0, 135, 255), LOST: (240, 120, 0), OTHER: (214, 40, 120)}
MARK_PALETTE = np.tile(np.array(IGNORED, np.uint8), (256, 1))
MARK_PALETTE[SAME] = BACKGROUND
for _mark, _colour in COLOURS.items():
    MARK_PALETTE[_mark] = _colour


def difference(before: np.ndarray, after: np.ndarray, truth: np.ndarray | None) -> np.ndarray:
    """What became of each pixel, uint8 (H, W): `SAME`, `GAINED`, `LOST`, `OTHER` or 255.

    Gained is what only `after` has right, lost what only `before` has right. All else that differs
    is `OTHER`; without `truth` that is all that differs. 255 stays where the truth is 255.

    Args:
        before: uint8 (H, W), labels.
        after: likewise.
        truth: likewise, or None where there is none.
    """
    marks = np.where(before != after, np.uint8(OTHER), np.uint8(SAME))
    if truth is not None:
        marks[(before != after) & (after == truth)] = GAINED
        marks[(before != after) & (before == truth)] = LOST
        marks[truth == IGNORE] = IGNORE
    return marks


def legend(first: str, last: str, truth: bool) -> list[dict[str, object]]:
    """Colours and texts of the marks, for the page.

    Args:
        first: name of the result that `before` is of.
        last: name of the result that `after` is of.
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
