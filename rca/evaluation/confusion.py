"""Exact pixel counts, and what is computed from them.

A confusion matrix is int64 (C + 1, C + 2): rows are the true labels 0 … C, columns the predicted
labels 0 … C and, last, 255 (no prediction). Pixels whose truth is 255 are not in it. Matrices of
several images are merged by adding them.

The evaluators of this field treat a predicted 255 in five incompatible ways, so here each measure
takes a named policy:

- `strict`: a miss, that is, a false negative of the true class and a false positive of no class;
- `background`: the same as a predicted 0;
- `excluded`: the pixel is left out, and `coverage` says how many remain.

Measures are float64 (C + 1,) from 0 to 1, and nan where their denominator is 0.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from rca.config import IGNORE

VALUES = 256
Policy = Literal["strict", "background", "excluded"]


def confusion_matrix(truth: np.ndarray, prediction: np.ndarray, classes: int) -> np.ndarray:
    """Count the pixels of each pair (true label, predicted label).

    Args:
        truth: The true labels, uint8 (H, W), 0 … C or 255.
        prediction: The predicted labels, uint8 (H, W), 0 … C or 255.
        classes: C, the number of classes without the background.

    Returns:
        The confusion matrix, int64 (C + 1, C + 2).

    Raises:
        ValueError: The sizes differ, an array is not uint8, or a value is none of 0 … C and 255.
    """
    if truth.shape != prediction.shape:
        raise ValueError(f"prediction is {_size(prediction)}, truth is {_size(truth)}")
    for name, labels in (("truth", truth), ("prediction", prediction)):
        if labels.dtype != np.uint8:
            raise ValueError(f"{name} must be uint8, this is {labels.dtype}")
    pairs = truth.ravel().astype(np.intp) * VALUES + prediction.ravel()
    counts = np.bincount(pairs, minlength=VALUES**2).reshape(VALUES, VALUES)
    _check_values("truth", counts.sum(axis=1), classes)
    _check_values("prediction", counts.sum(axis=0), classes)
    return counts[: classes + 1, [*range(classes + 1), IGNORE]]


def errors(matrix: np.ndarray, policy: Policy) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Count each class's true positives, false positives and false negatives, int64 (C + 1,)."""
    counts, unpredicted = matrix[:, :-1], matrix[:, -1]
    missed = unpredicted if policy == "strict" else np.zeros_like(unpredicted)
    if policy == "background":
        counts = counts.copy()
        counts[:, 0] += unpredicted
    hits = np.diagonal(counts)
    return hits, counts.sum(axis=0) - hits, counts.sum(axis=1) - hits + missed


def iou(matrix: np.ndarray, policy: Policy) -> np.ndarray:
    """Compute intersection over union, TP / (TP + FP + FN)."""
    hits, false_positives, false_negatives = errors(matrix, policy)
    return ratio(hits, hits + false_positives + false_negatives)


def mean_iou(matrix: np.ndarray, policy: Policy) -> float:
    """Compute the mean IoU over the classes, background included.

    As in VOC's development kit (VOCevalseg.m), a class absent from the truth but predicted scores
    0 and counts. A class in neither truth nor prediction has no IoU (0 / 0) and is left out, where
    the kit's mean would be nan; on VOC's own sets, which hold every class, the two agree.
    """
    return mean_present(iou(matrix, policy))


def mean_present(values: np.ndarray) -> float:
    """Compute the mean of the values that are not nan; nan if all are."""
    present = ~np.isnan(values)
    return float(values[present].mean()) if present.any() else float("nan")


def over_activation(matrix: np.ndarray, policy: Policy) -> np.ndarray:
    """Compute what false positives take from the IoU, FP / (TP + FP + FN).

    IoU, over- and under-activation of a class add up to 1. IRN (Ahn et al., CVPR 2019) calls the
    two FP and FN in its step/eval_sem_seg.py, SEAM FP_ALL and FN_ALL in its evaluation.py.
    """
    hits, false_positives, false_negatives = errors(matrix, policy)
    return ratio(false_positives, hits + false_positives + false_negatives)


def under_activation(matrix: np.ndarray, policy: Policy) -> np.ndarray:
    """Compute what false negatives take from the IoU, FN / (TP + FP + FN)."""
    hits, false_positives, false_negatives = errors(matrix, policy)
    return ratio(false_negatives, hits + false_positives + false_negatives)


def precision(matrix: np.ndarray, policy: Policy) -> np.ndarray:
    """Compute the share of the predicted pixels that are right, TP / (TP + FP)."""
    hits, false_positives, _ = errors(matrix, policy)
    return ratio(hits, hits + false_positives)


def recall(matrix: np.ndarray, policy: Policy) -> np.ndarray:
    """Compute the share of the true pixels that are found, TP / (TP + FN)."""
    hits, _, false_negatives = errors(matrix, policy)
    return ratio(hits, hits + false_negatives)


def false_positive_ratio(matrix: np.ndarray, policy: Policy) -> np.ndarray:
    """Compute false positives per hit, FP / TP, which has no upper bound; nan without a hit.

    This is SEAM's measure of over-activation (Wang et al., CVPR 2020), whose m_FP is its mean over
    the classes without the background.
    """
    hits, false_positives, _ = errors(matrix, policy)
    return ratio(false_positives, hits)


def false_negative_ratio(matrix: np.ndarray, policy: Policy) -> np.ndarray:
    """Compute false negatives per hit, FN / TP; nan without a hit.

    This is SEAM's measure of under-activation, with the mean m_FN.
    """
    hits, _, false_negatives = errors(matrix, policy)
    return ratio(false_negatives, hits)


def coverage(matrix: np.ndarray) -> float:
    """Compute the share of labelled pixels predicted as anything but 255; nan without any."""
    return float(ratio(matrix[:, :-1].sum(), matrix.sum()))


def ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """Compute `part / whole`, nan where `whole` is 0."""
    return np.divide(part, whole, out=np.full(np.shape(whole), np.nan), where=whole > 0)


def _size(labels: np.ndarray) -> str:
    return " × ".join(str(length) for length in reversed(labels.shape))


def _check_values(name: str, counts: np.ndarray, classes: int) -> None:
    values = np.flatnonzero(counts)
    wrong = values[(values > classes) & (values != IGNORE)]
    if len(wrong):
        listed = ", ".join(str(value) for value in wrong)
        raise ValueError(f"{name} holds {listed}; allowed are 0 to {classes} and {IGNORE}")
