"""Boundary IoU: how well outlines match, whatever the size of the object.

Cheng, Girshick, Dollár, Berg, Kirillov: Boundary IoU: Improving Object-Centric Image Segmentation
Evaluation, CVPR 2021. The boundary of a class is the part of its pixels that lies within d of its
outline or of the image's edge, where d is `width` of the image's diagonal; boundary IoU is the IoU
of the boundaries of truth and prediction. As with mIoU, pixels are counted over all images first.

Pixels that do not count (truth 255) are removed from both maps before the boundaries are drawn, so
the band beside them is boundary in both. A predicted 255 belongs to no class with `strict`, is
background with `background`, and is removed from both maps with `excluded`.
"""

from __future__ import annotations

import math

import numpy as np

from rca.config import IGNORE
from rca.evaluation.confusion import Policy, ratio


def boundary_counts(
    truth: np.ndarray, prediction: np.ndarray, classes: int, policy: Policy, width: float
) -> np.ndarray:
    """Count the boundary pixels of each class; the counts of several images add up.

    Args:
        truth: The true labels, uint8 (H, W), 0 … C or 255.
        prediction: The predicted labels, uint8 (H, W), 0 … C or 255.
        classes: C, the number of classes without the background.
        policy: The treatment of a predicted 255.
        width: The width of the boundary, as a share of the image's diagonal; the paper's is 0.02.

    Returns:
        The counts, int64 (C + 1, 3): pixels of the boundary in both maps, in the truth, in the
        prediction.
    """
    if policy == "background":
        prediction = np.where(prediction == IGNORE, np.uint8(0), prediction)
    void = truth == IGNORE
    if policy == "excluded":
        void |= prediction == IGNORE
    pixels = max(round(width * math.hypot(*truth.shape)), 1)
    maps = [np.where(void, np.uint8(IGNORE), labels) for labels in (truth, prediction)]
    bands = [np.where(_near_change(labels, pixels), labels, np.uint8(IGNORE)) for labels in maps]
    both = bands[0][bands[0] == bands[1]]
    return np.stack(
        [
            np.bincount(labels.ravel(), minlength=IGNORE + 1)[: classes + 1]
            for labels in (both, *bands)
        ],
        axis=1,
    )


def boundary_iou(counts: np.ndarray) -> np.ndarray:
    """Compute the boundary IoU of each class, float64 (C + 1,); nan for a class in neither map."""
    both, true, predicted = counts.T
    return ratio(both, true + predicted - both)


def _near_change(labels: np.ndarray, reach: int) -> np.ndarray:
    """Mark pixels at most `reach` rows and columns away from another label or the outside, bool."""
    # The padding is the highest value once and the lowest once, so the outside differs from all.
    high = _window(np.pad(labels, reach, constant_values=IGNORE), reach, np.maximum)
    low = _window(np.pad(labels, reach, constant_values=0), reach, np.minimum)
    return high != low


def _window(padded: np.ndarray, reach: int, best: np.ufunc) -> np.ndarray:
    """Compute the maximum or minimum over (2 · reach + 1)², for the array without its padding."""
    side = 2 * reach + 1
    for _ in range(2):  # rows, then, transposed, columns
        done = 1  # rows[i] is the best of padded[i : i + done]
        rows = padded
        while done < side:
            step = min(done, side - done)
            rows = best(rows[:-step], rows[step:])
            done += step
        padded = rows.T
    return padded
