"""Boundary IoU against its definition, class by class and pixel by pixel."""

from __future__ import annotations

import math

import numpy as np
import pytest

from rca.evaluation.boundary import boundary_counts, boundary_iou

CLASSES = 3


def blobs(seed: int, shape: tuple[int, int], values: tuple[int, ...]) -> np.ndarray:
    """Labels in patches of 3 × 3, so that there is an inside."""
    coarse = np.random.default_rng(seed).choice(
        np.array(values, np.uint8), size=(-(-shape[0] // 3), -(-shape[1] // 3))
    )
    return coarse.repeat(3, 0).repeat(3, 1)[: shape[0], : shape[1]]


def naive_boundary(mask: np.ndarray, distance: int) -> np.ndarray:
    """The pixels of a mask that as many erosions by 3 × 3 remove; outside the image is no mask."""
    left = mask.copy()
    for _ in range(distance):
        padded = np.pad(left, 1)
        for row, column in np.ndindex(mask.shape):
            left[row, column] = padded[row : row + 3, column : column + 3].all()
    return mask & ~left


def naive_counts(truth, prediction, policy, width):
    distance = max(round(width * math.sqrt(truth.shape[0] ** 2 + truth.shape[1] ** 2)), 1)
    known = truth != 255
    if policy == "excluded":
        known &= prediction != 255
    if policy == "background":
        prediction = np.where(prediction == 255, 0, prediction)
    counts = []
    for label in range(CLASSES + 1):
        true = naive_boundary((truth == label) & known, distance)
        found = naive_boundary((prediction == label) & known, distance)
        counts.append([(true & found).sum(), true.sum(), found.sum()])
    return np.array(counts)


@pytest.mark.parametrize("policy", ["strict", "background", "excluded"])
@pytest.mark.parametrize(("shape", "width"), [((17, 22), 0.02), ((20, 13), 0.09), ((9, 9), 0.5)])
def test_boundary_counts__equals_the_definition(policy, shape, width):
    truth = blobs(1, shape, (0, 0, 1, 2, 255))
    prediction = blobs(2, shape, (0, 0, 1, 3, 255))
    prediction[:10] = truth[:10]
    counts = boundary_counts(truth, prediction, CLASSES, policy, width)
    np.testing.assert_array_equal(counts, naive_counts(truth, prediction, policy, width))


def test_boundary_iou__of_the_truth_itself_is_one_whatever_it_says_of_ignored_pixels():
    truth = blobs(3, (30, 30), (0, 1, 2, 255))
    prediction = np.where(truth == 255, np.uint8(1), truth)
    values = boundary_iou(boundary_counts(truth, prediction, CLASSES, "strict", 0.02))
    np.testing.assert_array_equal(values, [1, 1, 1, np.nan])


def test_boundary_iou__in_closed_form():
    truth = np.zeros((20, 20), np.uint8)
    truth[5:15, 5:15] = 1
    prediction = np.zeros_like(truth)
    prediction[6:14, 6:14] = 1
    # Width 2: rings of 100 - 36 and 64 - 16 pixels, which share the ring of 64 - 36.
    counts = boundary_counts(truth, prediction, 1, "strict", 0.07)
    np.testing.assert_array_equal(counts[1], [28, 64, 48])
    assert boundary_iou(counts)[1] == 28 / (64 + 48 - 28)
