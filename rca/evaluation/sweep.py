"""Every background threshold of the CAM seeds in one pass over the images.

The class that wins among the CAMs does not depend on the threshold, which only decides between
winner and background. One histogram of the winning score for each pair (true label, winner)
therefore holds the confusion matrices of all thresholds.
"""

from __future__ import annotations

import numpy as np

from rca.config import IGNORE, PseudoLabels
from rca.evaluation.confusion import mean_iou, over_activation, under_activation
from rca.labels.rules import best_label
from rca.labels.scores import class_scores

THRESHOLDS = (np.arange(201) / 200).astype(np.float32)  # includes every threshold of two decimals
COLUMNS = ("threshold", "miou", "over_activation", "under_activation")


def winner(classes: np.ndarray, cams: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Find the best class of each pixel, before the background is considered.

    Args:
        classes: The 0-based classes of the CAMs, int (N,).
        cams: The CAMs, float32 (N, H, W).

    Returns:
        Labels 1 … C, uint8 (H, W), and their scores, float32 (H, W); both 0 if N is 0.
    """
    if not len(classes):
        return np.zeros(cams.shape[1:], np.uint8), np.zeros(cams.shape[1:], np.float32)
    return (classes[cams.argmax(axis=0)] + 1).astype(np.uint8), cams.max(axis=0)


def seeds(classes: np.ndarray, cams: np.ndarray, threshold: float) -> np.ndarray:
    """Label each pixel, uint8 (H, W), as stage `pseudo_labels` does with a constant background."""
    rules = PseudoLabels(background="threshold", threshold=threshold)
    return best_label(class_scores(cams, rules), classes)


def histogram(
    truth: np.ndarray, labels: np.ndarray, scores: np.ndarray, classes: int
) -> np.ndarray:
    """Count the pixels of each (true label, winner, number of thresholds below the score).

    Args:
        truth: The true labels, uint8 (H, W), 0 … C or 255.
        labels: The labels from `winner`, uint8 (H, W).
        scores: The scores from `winner`, float32 (H, W).
        classes: C, the number of classes without the background.

    Returns:
        The histogram, int64 (C + 1, C + 1, thresholds + 1); those of several images add up.
    """
    known = truth != IGNORE
    levels = np.searchsorted(THRESHOLDS, scores[known], side="left")
    shape = (classes + 1, classes + 1, len(THRESHOLDS) + 1)
    cells = np.ravel_multi_index((truth[known], labels[known], levels), shape)
    return np.bincount(cells, minlength=np.prod(shape)).reshape(shape)


def confusion_matrices(counts: np.ndarray) -> np.ndarray:
    """Compute the confusion matrix at each threshold, int64 (thresholds, C + 1, C + 2)."""
    below = counts.cumsum(axis=-1)[..., :-1]
    above = counts.sum(axis=-1, keepdims=True) - below
    matrices = np.pad(np.moveaxis(above, -1, 0), ((0, 0), (0, 0), (0, 1)))
    matrices[:, :, 0] += below.sum(axis=1).T
    return matrices


def sweep_table(counts: np.ndarray) -> list[tuple[float, float, float, float]]:
    """Build the rows of `COLUMNS`: a threshold, its mIoU, mean over- and under-activation, 0 to 1.

    Over- and under-activation are means over the classes without the background.
    """
    return [
        (
            float(threshold),
            mean_iou(matrix, "strict"),
            _foreground_mean(over_activation(matrix, "strict")),
            _foreground_mean(under_activation(matrix, "strict")),
        )
        for threshold, matrix in zip(THRESHOLDS, confusion_matrices(counts), strict=True)
    ]


def _foreground_mean(values: np.ndarray) -> float:
    present = values[1:][~np.isnan(values[1:])]
    return float(present.mean()) if len(present) else float("nan")
