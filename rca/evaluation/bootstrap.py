"""Confidence intervals: what the numbers would be on other images of the same kind.

Images are drawn with replacement, as many as there are, and the pixel counts of the images drawn
are added up as those of the split are (Efron's percentile bootstrap). A split of few images gets a
wide interval. The interval does not cover the variance of training: for that, train with several
seeds.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from rca.evaluation.confusion import ratio

LEVEL = 95  # percent of the resamples that lie inside the interval
CHUNK = 2**22  # weights held at a time


def resampled_ious(errors: np.ndarray, resamples: int, seed: int) -> np.ndarray:
    """Compute each class's IoU and, last, the mean IoU, on every resample of the images.

    The same seed draws the same images for all products of N images, so that the difference of two
    products' values is a paired one. A class without pixels in a resample is left out of its mean.

    Args:
        errors: The true positives, false positives and false negatives of each image, int64
            (N, 3, C + 1).
        resamples: R, the number of times that N images are drawn.
        seed: The seed of the draws.

    Returns:
        The IoUs, float64 (R, C + 2), nan for a class without pixels. No rows if N is 0.
    """
    images, _, classes = errors.shape
    counts = errors.reshape(images, 3 * classes).astype(np.float64)  # sums stay exact up to 2^53
    values = [np.zeros((0, classes + 1))]
    if images:
        values += [
            _ious((weights @ counts).reshape(-1, 3, classes))
            for weights in _weights(images, resamples, seed)
        ]
    return np.concatenate(values)


def interval(values: np.ndarray) -> tuple[float, float]:
    """Return the ends of the middle `LEVEL` percent of the resamples, (R,), nan left out."""
    known = values[~np.isnan(values)]
    if not len(known):
        return float("nan"), float("nan")
    tail = (100 - LEVEL) / 2
    low, high = np.percentile(known, [tail, 100 - tail])
    return float(low), float(high)


def _weights(images: int, resamples: int, seed: int) -> Iterator[np.ndarray]:
    """Count how often each image was drawn, float64 (some resamples, images), chunk by chunk."""
    import torch  # here: the worker processes of stage `evaluate` need no torch

    draws = torch.Generator().manual_seed(seed)
    while resamples:
        rows = min(resamples, max(CHUNK // images, 1))
        drawn = torch.randint(images, (rows, images), generator=draws).numpy()
        cells = drawn + np.arange(rows)[:, None] * images
        yield np.bincount(cells.ravel(), minlength=rows * images).reshape(rows, -1).astype(float)
        resamples -= rows


def _ious(errors: np.ndarray) -> np.ndarray:
    """Compute the IoU of each class and, last, their mean, (R, C + 2), of counts (R, 3, C + 1)."""
    values = ratio(errors[:, 0], errors.sum(axis=1))
    present = ~np.isnan(values)
    means = ratio(np.where(present, values, 0).sum(axis=1), present.sum(axis=1))
    return np.concatenate([values, means[:, None]], axis=1)
