"""The decision from class probabilities to the mask, refined by a CRF on request.

Worker processes import this module, so it does without torch.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from PIL import Image

from rca.config import Crf
from rca.labels.crf import contenders, dense_crf
from rca.labels.doubt import Witness, agreement

STRIP = 1_000_000  # pixels of the result that are enlarged at a time


class Scored(NamedTuple):
    """A photograph and its class probabilities, at the size they were computed at.

    Attributes:
        pixels: The photograph, uint8 (h, w, 3), RGB.
        probabilities: The probabilities of N labels, float32 (N, h, w).
        size: The height and width of the mask to be made from them.
        labels: The labels, uint8 (N,); None stands for 0 to N - 1.
    """

    pixels: np.ndarray
    probabilities: np.ndarray
    size: tuple[int, int]
    labels: np.ndarray | None = None

    def all_labels(self) -> np.ndarray:
        """Return the labels, uint8 (N,)."""
        if self.labels is None:
            return np.arange(len(self.probabilities), dtype=np.uint8)
        return self.labels


class Decision(NamedTuple):
    """The mask of a photograph, and how certain it is.

    Attributes:
        mask: The mask, uint8 (H, W): 0 background, i = class i.
        confidence: The probability of the mask's label, float32 (H, W).
        doubt: The doubt, from 0 to 1: how little the network's probabilities support the mask.
    """

    mask: np.ndarray
    confidence: np.ndarray
    doubt: float


def decide(scored: Scored, crf: Crf | None) -> Decision:
    """Choose the most probable label of every pixel, after the CRF if there is one.

    The CRF works at the size of the probabilities. A larger mask is decided from the enlarged
    probabilities, strip by strip, so that they are never all in memory at once.

    The doubt compares the mask at the size of the probabilities with the probabilities before the
    CRF, because the CRF makes almost all of them 0 or 1.
    """
    labels, scores = _refined(scored, crf)
    best = labels[scores.argmax(0)]
    doubt = 1 - agreement(best, Witness(scored.all_labels(), scored.probabilities))
    return Decision(*_labelled(labels, scores, scored.size), doubt)


def mask_of(scored: Scored, crf: Crf | None) -> np.ndarray:
    """Choose the labels as `decide` does, and return the mask alone, uint8 (H, W)."""
    return _labelled(*_refined(scored, crf), scored.size)[0]


def _refined(scored: Scored, crf: Crf | None) -> tuple[np.ndarray, np.ndarray]:
    """Return the labels that may be chosen, uint8 (K,), and their scores, float32 (K, h, w)."""
    if crf is None:
        return scored.all_labels(), scored.probabilities
    kept = contenders(scored.probabilities, crf)
    scores = dense_crf(scored.pixels, scored.probabilities[kept], crf)
    return scored.all_labels()[kept], scores


def _labelled(
    labels: np.ndarray, scores: np.ndarray, size: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray]:
    """Return mask and confidence at `size`, from the labels' scores at their own size."""
    height, width = size
    if scores.shape[1:] == size:
        return labels[scores.argmax(0)], scores.max(0)
    mask = np.empty((height, width), np.uint8)
    confidence = np.empty((height, width), np.float32)
    rows = max(STRIP // width, 1)
    for top in range(0, height, rows):
        strip = slice(top, min(top + rows, height))
        enlarged = _enlarged(scores, strip, height, width)
        mask[strip], confidence[strip] = labels[enlarged.argmax(0)], enlarged.max(0)
    return mask, confidence


def _enlarged(scores: np.ndarray, strip: slice, height: int, width: int) -> np.ndarray:
    """Return the rows `strip` of the scores, interpolated bilinearly to `height` × `width`."""
    factor = scores.shape[1] / height
    box = (0, strip.start * factor, scores.shape[2], strip.stop * factor)
    size = (width, strip.stop - strip.start)
    return np.stack(
        [
            np.asarray(Image.fromarray(channel).resize(size, Image.Resampling.BILINEAR, box))
            for channel in scores
        ]
    )
