"""From class probabilities to the mask, refined by a CRF on request.

Worker processes import this: it needs no torch.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from PIL import Image

from rca.config import Crf
from rca.labels.crf import dense_crf

STRIP = 1_000_000  # pixels of the result that are enlarged at a time


class Scored(NamedTuple):
    """A photograph and its class probabilities, at the size they were computed at.

    Attributes:
        pixels: uint8 (h, w, 3), RGB.
        probabilities: float32 (C + 1, h, w).
        size: height and width of the mask to be made of them.
    """

    pixels: np.ndarray
    probabilities: np.ndarray
    size: tuple[int, int]


class Decision(NamedTuple):
    """What every pixel is.

    Attributes:
        mask: uint8 (H, W), 0 background, i = class i.
        confidence: float32 (H, W), the probability of the mask's label.
    """

    mask: np.ndarray
    confidence: np.ndarray


def decide(scored: Scored, crf: Crf | None) -> Decision:
    """The most probable label of every pixel, after the CRF if there is one.

    The CRF works at the size of the probabilities. A larger mask is decided from the enlarged
    probabilities, strip by strip, so that they are never all in memory at once.
    """
    scores = scored.probabilities
    if crf:
        scores = dense_crf(scored.pixels, scores, crf)
    height, width = scored.size
    if scores.shape[1:] == (height, width):
        return Decision(scores.argmax(0).astype(np.uint8), scores.max(0))
    mask = np.empty((height, width), np.uint8)
    confidence = np.empty((height, width), np.float32)
    rows = max(STRIP // width, 1)
    for top in range(0, height, rows):
        strip = slice(top, min(top + rows, height))
        enlarged = _enlarged(scores, strip, height, width)
        mask[strip], confidence[strip] = enlarged.argmax(0), enlarged.max(0)
    return Decision(mask, confidence)


def mask_of(scored: Scored, crf: Crf | None) -> np.ndarray:
    """The mask alone, uint8 (H, W)."""
    return decide(scored, crf).mask


def _enlarged(scores: np.ndarray, strip: slice, height: int, width: int) -> np.ndarray:
    """The rows `strip` of the scores in bilinear interpolation to `height` × `width`."""
    factor = scores.shape[1] / height
    box = (0, strip.start * factor, scores.shape[2], strip.stop * factor)
    size = (width, strip.stop - strip.start)
    return np.stack(
        [
            np.asarray(Image.fromarray(channel).resize(size, Image.Resampling.BILINEAR, box))
            for channel in scores
        ]
    )
