"""One histogram against evaluating again at every threshold."""

from __future__ import annotations

import numpy as np
import pytest

from rca.evaluation.confusion import confusion_matrix, iou, mean_iou
from rca.evaluation.sweep import (
    THRESHOLDS,
    confusion_matrices,
    histogram,
    seeds,
    sweep_table,
    winner,
)

CLASSES = 4


def image(seed: int, present: list[int], shape: tuple[int, int] = (9, 11)):
    """Truth with ignored pixels, classes and CAMs, some of whose values are thresholds exactly."""
    random = np.random.default_rng(seed)
    truth = random.choice(np.array([0, 1, 2, 3, 4, 255], np.uint8), size=shape)
    cams = random.random((len(present), *shape)).astype(np.float32)
    if present:
        cams[:, :3] = random.choice(THRESHOLDS, size=(len(present), 3, shape[1]))
    return truth, np.array(present, np.int64), cams


IMAGES = [image(0, [2]), image(1, [0, 3]), image(2, [1, 2, 3]), image(3, [])]


def counted() -> np.ndarray:
    return sum(histogram(t, *winner(c, maps), CLASSES) for t, c, maps in IMAGES)


def naive_seeds(classes: np.ndarray, cams: np.ndarray, threshold: float) -> np.ndarray:
    labels = np.zeros(cams.shape[1:], np.uint8)
    for row, column in np.ndindex(labels.shape):
        best = np.float32(threshold)
        for number, score in zip(classes, cams[:, row, column], strict=True):
            if score > best:
                best, labels[row, column] = score, number + 1
    return labels


@pytest.mark.parametrize("threshold", [0.0, 0.25, 0.3, 0.995, 1.0])
def test_seeds__equals_a_loop_over_pixels(threshold):
    for _, classes, cams in IMAGES:
        expected = naive_seeds(classes, cams, threshold)
        np.testing.assert_array_equal(seeds(classes, cams, threshold), expected)


def test_winner__without_classes_is_background():
    labels, scores = winner(np.zeros(0, np.int64), np.zeros((0, 2, 3), np.float32))
    assert labels.shape == scores.shape == (2, 3)
    assert labels.dtype == np.uint8 and not labels.any() and not scores.any()


def test_confusion_matrices__equals_evaluating_at_each_threshold():
    matrices = confusion_matrices(counted())
    assert len(matrices) == len(THRESHOLDS)
    for threshold, matrix in zip(THRESHOLDS, matrices, strict=True):
        expected = sum(
            confusion_matrix(truth, seeds(classes, cams, threshold), CLASSES)
            for truth, classes, cams in IMAGES
        )
        np.testing.assert_array_equal(matrix, expected)


@pytest.mark.parametrize("threshold", [0.1, 0.15, 0.25, 0.3, 0.35, 0.7])
def test_thresholds__hold_every_configured_value_of_two_decimals(threshold):
    assert np.float32(threshold) in THRESHOLDS


def test_sweep_table__holds_means_of_each_matrix():
    rows = sweep_table(counted())
    matrices = confusion_matrices(counted())
    for (threshold, miou, over, under), known, matrix in zip(
        rows, THRESHOLDS, matrices, strict=True
    ):
        assert threshold == known
        assert miou == mean_iou(matrix, "strict")
        assert over + under + iou(matrix, "strict")[1:].mean() == pytest.approx(1)


def test_sweep_table__low_thresholds_label_too_much_and_high_ones_too_little():
    _, _, over, under = zip(*sweep_table(counted()), strict=True)
    assert over[0] > 0 and over[-1] == 0  # nothing scores above 1
    assert under[-1] == 1 and under[0] < 1
    assert list(under) == sorted(under)
