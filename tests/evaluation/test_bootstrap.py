"""Intervals against resampling by a loop."""

from __future__ import annotations

import numpy as np
import torch

from rca.evaluation import bootstrap
from rca.evaluation.bootstrap import interval, resampled_ious
from rca.evaluation.confusion import mean_present


def counts(images: int, classes: int = 3, seed: int = 0) -> np.ndarray:
    errors = np.random.default_rng(seed).integers(0, 50, (images, 3, classes))
    errors[:, :, 2] *= np.arange(images)[:, None] % 4 == 0  # a class of few images
    return errors


def test_resampled_ious__equals_a_loop_over_resamples():
    errors, resamples = counts(9), 200
    drawn = torch.randint(9, (resamples, 9), generator=torch.Generator().manual_seed(5))
    expected = []
    for images in drawn.tolist():
        totals = sum(errors[image] for image in images)
        ious = [
            hits / union if (union := hits + over + under) else float("nan")
            for hits, over, under in totals.T
        ]
        expected.append([*ious, mean_present(np.array(ious))])
    values = resampled_ious(errors, resamples, 5)
    assert np.isnan(values).any()
    np.testing.assert_allclose(values, expected)


def test_resampled_ious__do_not_depend_on_the_chunks(monkeypatch):
    whole = resampled_ious(counts(9), 50, 0)
    monkeypatch.setattr(bootstrap, "CHUNK", 63)
    np.testing.assert_array_equal(resampled_ious(counts(9), 50, 0), whole)


def test_resampled_ious__of_products_of_the_same_images_are_paired():
    first = resampled_ious(counts(9), 50, 0)
    better = counts(9)
    better[:, 1:] = 0  # no errors
    gain = resampled_ious(better, 50, 0)[:, 0] - first[:, 0]
    np.testing.assert_allclose(gain, 1 - first[:, 0])


def test_interval__covers_the_truth_about_as_often_as_it_says():
    # Images of one class, each a coin's throw between all right and all wrong: IoU 0.5.
    random = np.random.default_rng(0)
    inside = 0
    for _ in range(200):
        right = random.integers(0, 2, 60)
        errors = np.stack([right, 1 - right, np.zeros_like(right)], axis=1)[..., None]
        low, high = interval(resampled_ious(errors, 300, 1)[:, 0])
        inside += low <= 0.5 <= high
    assert 180 <= inside <= 198


def test_interval__is_the_middle_95_percent_without_nan():
    values = np.array([*range(1001), np.nan], float)
    assert interval(values) == (25, 975)
    assert np.isnan(interval(np.array([np.nan]))).all()


def test_interval__nan_without_pixels_or_images():
    for errors in (np.zeros((4, 3, 2), np.int64), np.zeros((0, 3, 2), np.int64)):
        assert np.isnan(interval(resampled_ious(errors, 10, 0)[:, -1])).all()
