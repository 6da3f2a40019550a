"""From class probabilities to the mask, refined by a CRF on request.

Worker processes import this: it needs no torch.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from PIL import Image

from rca.config import Crf
from rca.labels.crf import dense_crf
from rca.labels.doubt import Witness, agreement

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
        doubt: how little of the mask the network's probabilities bear out, from 0 to 1.
    """

    mask: np.ndarray
    confidence: np.ndarray
    doubt: float


def decide(scored: Scored, crf: Crf | None) -> Decision:
    """The most probable label of every pixel, after the CRF if there is one.

    The CRF works at the size of the probabilities. A larger mask is decided from the enlarged
    probabilities, strip by strip, so that they are never all in memory at once.

    The doubt is of the mask at the size of the probabilities, beside these as they are before the
    CRF, which makes almost all of them 0 or 1.
    """
    scores = _refined(scored, crf)
    labels = np.arange(len(scores), dtype=np.uint8)
    best = labels[scores.argmax(0)]
    doubt = 1 - agreement(best, Witness(labels, scored.probabilities))
    return Decision(*_labelled(scores, scored.size), doubt)


def mask_of(scored: Scored, crf: Crf | None) -> np.ndarray:
    """The mask alone, uint8 (H, W)."""
    return _labelled(_refined(scored, crf), scored.size)[0]


def _refined(scored: Scored, crf: Crf | None) -> np.ndarray:
    if crf is None:
        return scored.probabilities
    return dense_crf(scored.pixels, scored.probabilities, crf)


def _labelled(scores: np.ndarray, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Mask and confidence at a size, from scores at theirs."""
    height, width = size
    if scores.shape[1:] == size:
        return scores.argmax(0).astype(np.uint8), scores.max(0)
    mask = np.empty((height, width), np.uint8)
    confidence = np.empty((height, width), np.float32)
    rows = max(STRIP // width, 1)
    for top in range(0, height, rows):
        strip = slice(top, min(top + rows, height))
        enlarged = _enlarged(scores, strip, height, width)
        mask[strip], confidence[strip] = enlarged.argmax(0), enlarged.max(0)
    return mask, confidence


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
