from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional

from rca.config import PseudoLabels
from rca.labels.scores import (
    background_score,
    class_scores,
    crf_scores,
    matching_power,
    power_background,
    rest_background,
    upsample_cams,
)


def random_cams(classes: int, height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random((classes, height, width), dtype=np.float32)


def naive_bilinear(image: np.ndarray, height: int, width: int) -> np.ndarray:
    result = np.zeros((height, width))
    for y in range(height):
        for x in range(width):
            # Pixel centres: (y + 0.5) of `height` is the same point as (row + 0.5) of the input.
            row = np.clip((y + 0.5) * image.shape[0] / height - 0.5, 0, image.shape[0] - 1)
            column = np.clip((x + 0.5) * image.shape[1] / width - 0.5, 0, image.shape[1] - 1)
            top, left = int(row), int(column)
            bottom = min(top + 1, image.shape[0] - 1)
            right = min(left + 1, image.shape[1] - 1)
            down, along = row - top, column - left
            result[y, x] = (1 - down) * (
                (1 - along) * image[top, left] + along * image[top, right]
            ) + down * ((1 - along) * image[bottom, left] + along * image[bottom, right])
    return result


@pytest.mark.parametrize(("height", "width"), [(12, 20), (11, 17), (3, 5), (1, 1)])
def test_upsample_cams__equals_naive_loop(height, width):
    cams = random_cams(2, 3, 5)
    large = upsample_cams(cams, height, width)
    assert large.dtype == np.float32
    for image, expected in zip(large, cams, strict=True):
        np.testing.assert_allclose(image, naive_bilinear(expected, height, width), atol=1e-6)


def test_upsample_cams__equals_torch():
    cams = random_cams(3, 7, 9)
    expected = functional.interpolate(torch.from_numpy(cams)[None], (50, 64), mode="bilinear")[0]
    np.testing.assert_allclose(upsample_cams(cams, 50, 64), expected.numpy(), atol=1e-6)


def test_upsample_cams__keeps_a_constant():
    large = upsample_cams(np.full((1, 4, 4), 0.5, np.float32), 9, 13)
    np.testing.assert_allclose(large, 0.5, atol=1e-6)


def test_upsample_cams__no_classes():
    assert upsample_cams(np.zeros((0, 3, 5), np.float32), 12, 20).shape == (0, 12, 20)


def test_background_score__threshold_is_constant():
    score = background_score(random_cams(2, 4, 5), PseudoLabels(threshold=0.3))
    assert score.dtype == np.float32
    assert (score == np.float32(0.3)).all()


def test_background_score__power_equals_naive_loop():
    cams = random_cams(3, 4, 5)
    score = background_score(cams, PseudoLabels(background="power", power=4))
    for y in range(4):
        for x in range(5):
            expected = (1 - max(float(cam[y, x]) for cam in cams)) ** 4
            assert score[y, x] == pytest.approx(expected, abs=1e-6)


def test_background_score__saliency_is_turned_over():
    saliency = np.array([[0.0, 0.25], [1.0, 0.5]], np.float32)
    rules = PseudoLabels(background="saliency")
    score = background_score(random_cams(1, 2, 2), rules, saliency)
    assert score.tolist() == [[1.0, 0.75], [0.0, 0.5]]


def test_background_score__missing_saliency_is_an_error():
    with pytest.raises(ValueError, match="needs a saliency map"):
        background_score(random_cams(1, 2, 2), PseudoLabels(background="saliency"))


def test_power_background__is_all_background_without_classes():
    assert (power_background(np.zeros((0, 2, 3), np.float32), 4.0) == 1).all()


def test_power_background__cam_rounded_over_one_is_no_nan():
    above = np.nextafter(np.ones((1, 1, 1), np.float32), np.float32(2))
    assert power_background(above, 4.8) == 0


def random_posteriors(classes: int, height: int, width: int) -> np.ndarray:
    """Of the classes, which leave something to the background."""
    whole = np.random.default_rng(0).dirichlet(np.ones(classes + 1), (height, width))
    return np.moveaxis(whole, -1, 0)[1:].astype(np.float32)


def test_background_score__posterior_is_what_the_classes_leave():
    posteriors = random_posteriors(3, 4, 5)
    score = background_score(posteriors, PseudoLabels(background="posterior"))
    assert score.dtype == np.float32
    for y in range(4):
        for x in range(5):
            expected = 1 - sum(float(posterior[y, x]) for posterior in posteriors)
            assert score[y, x] == pytest.approx(expected, abs=1e-6)


def test_rest_background__is_all_without_classes_and_never_below_0():
    assert (rest_background(np.zeros((0, 2, 3), np.float32)) == 1).all()
    assert rest_background(np.full((2, 1, 1), 0.500004, np.float32)) == 0


def test_crf_scores__posteriors_go_as_they_are():
    posteriors = random_posteriors(2, 4, 5)
    rules = PseudoLabels(background="posterior")
    scores = crf_scores(posteriors, rules)
    assert (scores[1:] == posteriors).all()
    assert (scores[0] == rest_background(posteriors)).all()
    np.testing.assert_allclose(scores.sum(axis=0), 1, atol=1e-6)
    assert (scores == class_scores(posteriors, rules)).all()


def test_class_scores__background_first_then_the_cams():
    cams = random_cams(2, 4, 5)
    scores = class_scores(cams, PseudoLabels(threshold=0.2))
    assert scores.shape == (3, 4, 5)
    assert scores.dtype == np.float32
    assert (scores[0] == np.float32(0.2)).all()
    assert (scores[1:] == cams).all()


@pytest.mark.parametrize("threshold", [0.05, 0.25, 0.5, 0.8])
def test_matching_power__meets_the_cam_at_the_threshold(threshold):
    assert (1 - threshold) ** matching_power(threshold) == pytest.approx(threshold)


@pytest.mark.parametrize("threshold", [0.0, 0.1, 0.25, 0.6, 1.0])
def test_crf_scores__starts_from_the_labels_of_the_threshold(threshold):
    cams = random_cams(2, 40, 40)
    rules = PseudoLabels(threshold=threshold)
    best = crf_scores(cams, rules).argmax(axis=0)
    assert (best == class_scores(cams, rules).argmax(axis=0)).all()


def test_crf_scores__gives_the_background_away_where_a_cam_is_sure():
    cams = np.array([[[0.0, 0.25, 1.0]]], np.float32)
    background, foreground = crf_scores(cams, PseudoLabels(threshold=0.25))
    np.testing.assert_allclose(background[0], [1, 0.25, 0], atol=1e-6)
    assert (foreground == cams[0]).all()


@pytest.mark.parametrize("background", ["power", "saliency"])
def test_crf_scores__power_elsewhere(background):
    cams = random_cams(2, 4, 5)
    scores = crf_scores(cams, PseudoLabels(background=background, power=3))
    assert (scores[0] == power_background(cams, 3)).all()
