from __future__ import annotations

import numpy as np
import pytest

from rca.config import PseudoLabels
from rca.labels.rules import (
    IGNORE,
    best_label,
    conflicting,
    doubtful_as_background,
    foreground_share,
    label_map,
    undecided,
)

CLASSES = np.array([1, 4])  # labels 2 and 5
OFF = PseudoLabels(conflict_threshold=1, min_foreground=0)


def random_scores(seed: int, height: int = 9, width: int = 11) -> np.ndarray:
    # Rounded, so that ties and scores right at a threshold occur.
    return np.random.default_rng(seed).random((3, height, width)).round(1).astype(np.float32)


def naive_label_map(scores, classes, rules, cams, saliency):
    """Pixel by pixel, in the order of the released code."""
    _, height, width = scores.shape
    labels = np.zeros((height, width), np.uint8)
    below, above = np.float32(rules.uncertain_margin), np.float32(rules.conflict_threshold)
    for y in range(height):
        for x in range(width):
            pixel = scores[:, y, x]
            best, label = pixel[0], 0
            for score, name in zip(pixel[1:], classes, strict=True):
                if score > best:
                    best, label = score, name + 1
            if sum(score > above for score in pixel) > 1:
                label = IGNORE
            if abs(max(pixel[1:]) - pixel[0]) < below:
                label = IGNORE
            if rules.background == "saliency" and label == 0:
                sure = any(cam[y, x] > np.float32(rules.confident_cam) for cam in cams)
                if max(saliency[y, x], 1.0 if sure else 0.0) >= rules.uncertain_saliency:
                    label = IGNORE
            labels[y, x] = label
    seen = sum(0 < label < IGNORE for label in labels.flat)
    if seen / labels.size < rules.min_foreground:
        labels[:] = IGNORE
    return labels


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(
    "rules",
    [
        PseudoLabels(),
        PseudoLabels(uncertain_margin=0.25, conflict_threshold=0.6),
        PseudoLabels(background="saliency", confident_cam=0.8, uncertain_saliency=0.125),
        PseudoLabels(background="saliency", uncertain_saliency=0.5, uncertain_margin=0.1),
        PseudoLabels(min_foreground=0.6),
        PseudoLabels(min_foreground=0.7),
    ],
)
def test_label_map__equals_naive_loop(seed, rules):
    scores, cams = random_scores(seed), random_scores(seed + 100)[1:]
    saliency = random_scores(seed + 200)[0]
    expected = naive_label_map(scores, CLASSES, rules, cams, saliency)
    labels = label_map(scores, CLASSES, rules, cams=cams, saliency=saliency)
    assert labels.dtype == np.uint8
    assert labels.tolist() == expected.tolist()


def test_best_label__values_and_ties():
    scores = np.array([[[0.5, 0.2, 0.1]], [[0.5, 0.6, 0.7]], [[0.1, 0.6, 0.9]]], np.float32)
    assert best_label(scores, CLASSES).tolist() == [[0, 2, 5]]


def test_conflicting__counts_the_background_too():
    scores = np.array([[[0.95, 0.1, 0.95]], [[0.92, 0.95, 0.9]], [[0.1, 0.91, 0.2]]], np.float32)
    assert conflicting(scores, 0.9).tolist() == [[True, True, False]]


def test_undecided__leads_and_trails():
    scores = np.array([[[0.5, 0.5, 0.5, 0.5]], [[0.55, 0.45, 0.7, 0.2]]], np.float32)
    assert undecided(scores, 0.1).tolist() == [[True, True, False, False]]
    assert not undecided(scores, 0.0).any()


def test_doubtful_as_background__salient_or_confident():
    cams = np.array([[[0.9, 0.1, 0.8, 0.1]], [[0.0, 0.0, 0.0, 0.85]]], np.float32)
    saliency = np.array([[0.0, 0.2, 0.1, 0.0]], np.float32)
    rules = PseudoLabels(background="saliency", confident_cam=0.8, uncertain_saliency=0.2)
    expected = [[True, True, False, True]]
    assert doubtful_as_background(cams, saliency, rules).tolist() == expected


def test_foreground_share__leaves_out_background_and_ignored():
    assert foreground_share(np.array([[0, 1, 255, 3]], np.uint8)) == 0.5


def test_label_map__saliency_rule_spares_the_foreground():
    rules = PseudoLabels(background="saliency", conflict_threshold=1, min_foreground=0)
    scores = np.array([[[0.2, 0.6]], [[0.5, 0.5]]], np.float32)
    saliency = np.array([[0.8, 0.4]], np.float32)
    labels = label_map(scores, np.array([0]), rules, cams=scores[1:], saliency=saliency)
    assert labels.tolist() == [[1, IGNORE]]


def test_label_map__small_foreground_ignores_the_image():
    scores = np.zeros((2, 10, 10), np.float32)
    scores[0] = 0.5
    scores[1, 0, 0] = 1
    kept = label_map(scores, np.array([0]), PseudoLabels(min_foreground=0.01))
    assert (kept == 1).sum() == 1
    ignored = label_map(scores, np.array([0]), PseudoLabels(min_foreground=0.011))
    assert (ignored == IGNORE).all()


@pytest.mark.parametrize("share", [0.01, 0.0])
def test_label_map__without_a_class_nothing_is_known(share):
    scores = np.full((1, 3, 4), 0.25, np.float32)
    labels = label_map(scores, np.array([], int), PseudoLabels(min_foreground=share))
    assert (labels == IGNORE).all()


def test_label_map__order_of_classes_does_not_matter():
    scores = np.random.default_rng(0).random((3, 20, 20), dtype=np.float32)
    swapped = label_map(scores[[0, 2, 1]], CLASSES[::-1], OFF)
    assert (swapped == label_map(scores, CLASSES, OFF)).all()


def test_label_map__missing_map_is_an_error():
    with pytest.raises(ValueError, match="2 classes need one score more, there are 2"):
        label_map(random_scores(0)[:2], CLASSES, OFF)
    with pytest.raises(ValueError, match="needs the CAMs and a saliency map"):
        label_map(random_scores(0), CLASSES, PseudoLabels(background="saliency"))


def test_label_map__nan_is_an_error():
    scores = random_scores(0)
    scores[1, 2, 3] = np.nan
    with pytest.raises(ValueError, match="NaN or infinity"):
        label_map(scores, CLASSES, OFF)
