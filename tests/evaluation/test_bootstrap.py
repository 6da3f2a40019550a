"""Intervals against resampling by a loop."""

from __future__ import annotations

import numpy as np
import torch

from rca.evaluation import bootstrap
from rca.evaluation.bootstrap import iou_intervals
from rca.evaluation.confusion import mean_present


def counts(images: int, classes: int = 3, seed: int = 0) -> np.ndarray:
    errors = np.random.default_rng(seed).integers(0, 50, (images, 3, classes))
    errors[:, :, 2] *= np.arange(images)[:, None] % 4 == 0  # a class of few images
    return errors


def test_iou_intervals__equals_a_loop_over_resamples():
    errors, resamples = counts(9), 200
    drawn = torch.randint(9, (resamples, 9), generator=torch.Generator().manual_seed(5))
    values = []
    for images in drawn.tolist():
        totals = sum(errors[image] for image in images)
        ious = [
            hits / union if (union := hits + over + under) else float("nan")
            for hits, over, under in totals.T
        ]
        values.append([*ious, mean_present(np.array(ious))])
    expected = np.nanpercentile(values, [2.5, 97.5], axis=0).T
    np.testing.assert_allclose(iou_intervals(errors, resamples, 5), expected)


def test_iou_intervals__do_not_depend_on_the_chunks(monkeypatch):
    whole = iou_intervals(counts(9), 50, 0)
    monkeypatch.setattr(bootstrap, "CHUNK", 63)
    np.testing.assert_array_equal(iou_intervals(counts(9), 50, 0), whole)


def test_iou_intervals__cover_the_truth_about_as_often_as_they_say():
    # Images of one class, each a coin's throw between all right and all wrong: IoU 0.5.
    random = np.random.default_rng(0)
    inside = 0
    for _ in range(200):
        right = random.integers(0, 2, 60)
        errors = np.stack([right, 1 - right, np.zeros_like(right)], axis=1)[..., None]
        low, high = iou_intervals(errors, 300, 1)[0]
        inside += low <= 0.5 <= high
    assert 180 <= inside <= 198


def test_iou_intervals__of_one_image_or_of_equal_images_have_no_width():
    errors = counts(1).repeat(5, axis=0)
    low, high = iou_intervals(errors, 20, 0).T
    np.testing.assert_allclose(low, high)


def test_iou_intervals__nan_without_pixels_or_images():
    assert np.isnan(iou_intervals(np.zeros((4, 3, 2), np.int64), 10, 0)).all()
    assert np.isnan(iou_intervals(np.zeros((0, 3, 2), np.int64), 10, 0)).all()
