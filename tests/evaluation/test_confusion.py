"""Counts against a loop over pixels, measures against torchmetrics and closed forms."""

from __future__ import annotations

import numpy as np
import pytest
import sklearn.metrics
import torch
from torchmetrics.functional.classification import (
    multiclass_confusion_matrix,
    multiclass_jaccard_index,
)

from rca.evaluation.confusion import (
    confusion_matrix,
    coverage,
    false_negative_ratio,
    false_positive_ratio,
    iou,
    mean_iou,
    over_activation,
    precision,
    recall,
    under_activation,
)

POLICIES = ("strict", "background", "excluded")


def random_labels(seed: int, values: list[int], shape: tuple[int, int] = (13, 17)) -> np.ndarray:
    return np.random.default_rng(seed).choice(np.array(values, np.uint8), size=shape)


def naive_matrix(truth: np.ndarray, prediction: np.ndarray, classes: int) -> np.ndarray:
    matrix = np.zeros((classes + 1, classes + 2), dtype=np.int64)
    for row in range(truth.shape[0]):
        for column in range(truth.shape[1]):
            actual, guess = int(truth[row, column]), int(prediction[row, column])
            if actual != 255:
                matrix[actual, classes + 1 if guess == 255 else guess] += 1
    return matrix


# Two classes; 10 pixels of background, 8 of class 1, none of class 2.
MATRIX = np.array([[6, 1, 0, 3], [2, 4, 0, 2], [0, 0, 0, 0]])


@pytest.mark.parametrize("classes", [1, 3, 20])
def test_confusion_matrix__equals_a_loop_over_pixels(classes):
    values = [*range(classes + 1), 255]
    truth, prediction = random_labels(0, values), random_labels(1, values)
    matrix = confusion_matrix(truth, prediction, classes)
    assert matrix.dtype == np.int64
    np.testing.assert_array_equal(matrix, naive_matrix(truth, prediction, classes))


def test_confusion_matrix__equals_torchmetrics_where_nothing_is_predicted_255():
    truth, prediction = random_labels(2, [0, 1, 2, 3, 255]), random_labels(3, [0, 1, 2, 3])
    expected = multiclass_confusion_matrix(
        torch.from_numpy(prediction).long(),
        torch.from_numpy(truth).long(),
        num_classes=4,
        ignore_index=255,
    )
    matrix = confusion_matrix(truth, prediction, 3)
    np.testing.assert_array_equal(matrix[:, :-1], expected.numpy())
    assert not matrix[:, -1].any()


def test_confusion_matrix__equals_scikit_learn_with_255_among_the_predictions():
    truth, prediction = random_labels(10, [0, 1, 2, 3, 255]), random_labels(11, [0, 1, 3, 255])
    known = truth != 255
    expected = sklearn.metrics.confusion_matrix(
        truth[known], prediction[known], labels=[0, 1, 2, 3, 255]
    )
    matrix = confusion_matrix(truth, prediction, 3)
    np.testing.assert_array_equal(matrix, expected[:4])
    for policy, guesses in (("strict", prediction), ("background", prediction % 255)):
        right, found, _, _ = sklearn.metrics.precision_recall_fscore_support(
            truth[known], guesses[known], labels=[0, 1, 2, 3], zero_division=np.nan
        )
        np.testing.assert_allclose(precision(matrix, policy), right)
        np.testing.assert_allclose(recall(matrix, policy), found)
        ious = sklearn.metrics.jaccard_score(
            truth[known], guesses[known], labels=[0, 1, 2, 3], average=None
        )
        np.testing.assert_allclose(iou(matrix, policy), ious)


def test_confusion_matrix__of_two_images_add_up_to_that_of_both():
    truth, prediction = random_labels(4, [0, 1, 2, 255]), random_labels(5, [0, 1, 2, 255])
    halves = [confusion_matrix(truth[part], prediction[part], 2) for part in (np.s_[:5], np.s_[5:])]
    np.testing.assert_array_equal(sum(halves), confusion_matrix(truth, prediction, 2))


@pytest.mark.parametrize("policy", POLICIES)
def test_iou__follows_a_permutation_of_the_classes(policy):
    truth, prediction = random_labels(6, [0, 1, 2, 3, 255]), random_labels(7, [0, 1, 2, 3, 255])
    order = np.array([0, 3, 1, 2])  # the background is no class like others: 255 may become it
    table = np.full(256, 255, np.uint8)
    table[:4] = order
    before = iou(confusion_matrix(truth, prediction, 3), policy)
    after = iou(confusion_matrix(table[truth], table[prediction], 3), policy)
    np.testing.assert_array_equal(after[order], before)


@pytest.mark.parametrize(
    ("truth", "prediction", "message"),
    [
        ([[0, 7]], [[0, 1]], "truth holds 7; allowed are 0 to 2 and 255"),
        ([[0, 1]], [[21, 254]], "prediction holds 21, 254; allowed are 0 to 2 and 255"),
        ([[255, 1]], [[9, 1]], "prediction holds 9"),  # also where the truth is ignored
        ([[0, 1]], [[0, 1, 1]], "prediction is 3 × 1, truth is 2 × 1"),
    ],
)
def test_confusion_matrix__names_what_is_wrong(truth, prediction, message):
    with pytest.raises(ValueError, match=message):
        confusion_matrix(np.array(truth, np.uint8), np.array(prediction, np.uint8), 2)


def test_confusion_matrix__refuses_other_types():
    labels = np.array([[0, -1]])
    with pytest.raises(ValueError, match="truth must be uint8, this is int64"):
        confusion_matrix(labels, labels.astype(np.uint8), 2)


@pytest.mark.parametrize(
    ("policy", "background", "first"),
    [
        ("strict", 6 / (10 + 8 - 6), 4 / (8 + 5 - 4)),
        ("background", 9 / (10 + 13 - 9), 4 / (8 + 5 - 4)),
        ("excluded", 6 / (7 + 8 - 6), 4 / (6 + 5 - 4)),
    ],
)
def test_iou__policies_in_closed_form(policy, background, first):
    np.testing.assert_allclose(iou(MATRIX, policy), [background, first, np.nan])
    assert mean_iou(MATRIX, policy) == pytest.approx((background + first) / 2)


@pytest.mark.parametrize(
    ("policy", "right", "found"),
    [
        ("strict", [6 / 8, 4 / 5], [6 / 10, 4 / 8]),
        ("background", [9 / 13, 4 / 5], [9 / 10, 4 / 8]),
        ("excluded", [6 / 8, 4 / 5], [6 / 7, 4 / 6]),
    ],
)
def test_precision_and_recall__policies_in_closed_form(policy, right, found):
    np.testing.assert_allclose(precision(MATRIX, policy), [*right, np.nan])
    np.testing.assert_allclose(recall(MATRIX, policy), [*found, np.nan])


@pytest.mark.parametrize("policy", POLICIES)
def test_over_and_under_activation__are_what_the_iou_lacks(policy):
    parts = [measure(MATRIX, policy) for measure in (iou, over_activation, under_activation)]
    np.testing.assert_allclose(sum(parts)[:2], 1)


def test_over_and_under_activation__in_closed_form():
    np.testing.assert_allclose(over_activation(MATRIX, "strict"), [2 / 12, 1 / 9, np.nan])
    np.testing.assert_allclose(under_activation(MATRIX, "strict"), [4 / 12, 4 / 9, np.nan])


def test_false_ratios__are_per_hit_and_nan_without_one():
    np.testing.assert_allclose(false_positive_ratio(MATRIX, "strict"), [2 / 6, 1 / 4, np.nan])
    np.testing.assert_allclose(false_negative_ratio(MATRIX, "strict"), [4 / 6, 4 / 4, np.nan])


def test_iou__equals_torchmetrics_but_for_absent_classes():
    truth, prediction = random_labels(8, [0, 1, 3, 255]), random_labels(9, [0, 1, 3])
    arguments = (torch.from_numpy(prediction).long(), torch.from_numpy(truth).long(), 5)
    expected = multiclass_jaccard_index(*arguments, average="none", ignore_index=255)
    matrix = confusion_matrix(truth, prediction, 4)
    values = iou(matrix, "strict")
    np.testing.assert_allclose(values[[0, 1, 3]], expected[[0, 1, 3]], rtol=1e-6)
    assert np.isnan(values[[2, 4]]).all() and not expected[[2, 4]].any()
    assert mean_iou(matrix, "strict") == pytest.approx(float(expected.sum() / 3))


def test_iou__class_that_is_only_predicted_scores_zero():
    matrix = confusion_matrix(np.zeros((1, 4), np.uint8), np.array([[0, 0, 0, 2]], np.uint8), 2)
    np.testing.assert_array_equal(iou(matrix, "strict"), [0.75, np.nan, 0])


def test_coverage__is_the_share_of_labelled_pixels_with_a_prediction():
    assert coverage(MATRIX) == 13 / 18
    assert np.isnan(coverage(np.zeros((2, 3), np.int64)))


def test_mean_iou__without_any_labelled_pixel_is_nan():
    ignored = np.full((2, 2), 255, np.uint8)
    assert np.isnan(mean_iou(confusion_matrix(ignored, np.zeros_like(ignored), 2), "strict"))
