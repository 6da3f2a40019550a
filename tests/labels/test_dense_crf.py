from __future__ import annotations

import sys

import numpy as np
import pytest

from rca.config import ConfigError, Crf
from rca.labels.crf import NEGLIGIBLE, contenders, dense_crf, unary_energy
from rca.labels.scores import upsample_cams

SMALL = Crf(iterations=5, bilateral_sxy=20)


@pytest.fixture
def scene() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """An image of three flat parts, which part a pixel is of, and noisy scores for the parts."""
    generator = np.random.default_rng(0)
    parts = np.zeros((24, 36), int)
    parts[:, 12:24] = 1
    parts[12:, 24:] = 2
    colours = np.array([[30, 90, 200], [220, 120, 40], [40, 180, 60]], np.uint8)
    noise = generator.integers(-4, 5, (24, 36, 3))
    image = (colours[parts].astype(int) + noise).astype(np.uint8)
    scores = generator.random((3, 24, 36), dtype=np.float32)
    np.put_along_axis(scores, parts[None], np.take_along_axis(scores, parts[None], 0) + 0.35, 0)
    return image, parts, scores


def test_dense_crf__cleans_up_noise_along_the_edges(scene):
    image, parts, scores = scene
    before = (scores.argmax(axis=0) == parts).mean()
    after = (dense_crf(image, scores, SMALL).argmax(axis=0) == parts).mean()
    assert before < 0.75
    assert after > 0.99


def test_dense_crf__posteriors_sum_to_one(scene):
    image, _, scores = scene
    posteriors = dense_crf(image, scores, SMALL)
    assert posteriors.dtype == np.float32
    assert posteriors.min() >= 0
    np.testing.assert_allclose(posteriors.sum(axis=0), 1, atol=1e-5)


def test_dense_crf__absent_classes_change_nothing(scene):
    image, _, scores = scene
    everything = np.zeros((8, *scores.shape[1:]), np.float32)
    everything[[0, 3, 6]] = scores
    present = dense_crf(image, scores, SMALL)
    among_all = dense_crf(image, everything, SMALL)
    np.testing.assert_allclose(among_all[[0, 3, 6]], present, atol=1e-5)
    assert (np.array([0, 3, 6])[present.argmax(axis=0)] == among_all.argmax(axis=0)).all()


def test_contenders__are_the_labels_with_a_share_of_some_pixel(scene):
    _, _, scores = scene
    scores = np.concatenate([scores, 0.0001 * scores, np.zeros_like(scores)])
    scores[4, 3, 5] = 0.2
    expected = [
        label
        for label, score in enumerate(scores)
        if any(
            score[y, x] / sum(other[y, x] for other in scores) >= NEGLIGIBLE
            for y in range(24)
            for x in range(36)
        )
    ]
    assert contenders(scores, Crf()).tolist() == expected == [0, 1, 2, 4]
    assert contenders(7 * scores, Crf()).tolist() == expected


@pytest.mark.parametrize("labels", [1, 3, 200])
@pytest.mark.parametrize("value", [0, 1e-12, 1])
def test_contenders__even_scores_leave_no_label_out(labels, value):
    assert len(contenders(np.full((labels, 4, 5), value, np.float32), Crf())) == labels


def test_contenders__most_probable_of_many_labels_is_kept():
    scores = np.full((300, 2, 2), 0.9, np.float32)
    scores[[7, 99]] = 1
    assert {7, 99} <= set(contenders(scores, Crf()))


@pytest.mark.parametrize("flat", [True, False])
@pytest.mark.parametrize(("weight", "share"), [(10, 0.01), (97, 0.0013)])
def test_contenders__posterior_of_a_label_left_out_stays_negligible(scene, flat, weight, share):
    image, _, scores = scene
    image = np.full_like(image, 90) if flat else image
    cfg = Crf(bilateral_compat=weight)
    just_below, just_above = (
        np.concatenate([scores, scores.sum(0)[None] * part / (1 - part)])
        for part in (0.99 * share, 1.01 * share)
    )
    assert contenders(just_below, cfg).tolist() == [0, 1, 2]
    assert contenders(just_above, cfg).tolist() == [0, 1, 2, 3]
    assert dense_crf(image, just_below, cfg)[3].max() < 1.17 * share


def test_dense_crf__order_of_labels_permutes_with_it(scene):
    image, _, scores = scene
    order = [2, 0, 1]
    posteriors = dense_crf(image, scores, SMALL)
    np.testing.assert_allclose(dense_crf(image, scores[order], SMALL), posteriors[order], atol=1e-5)


def test_dense_crf__same_bytes_twice_and_inputs_untouched(scene):
    image, _, scores = scene
    image.flags.writeable = scores.flags.writeable = False
    first = dense_crf(image, scores, SMALL)
    assert first.tobytes() == dense_crf(image, scores, SMALL).tobytes()


def test_dense_crf__common_factor_cancels(scene):
    image, _, scores = scene
    np.testing.assert_allclose(
        dense_crf(image, scores * 0.1, SMALL), dense_crf(image, scores, SMALL), atol=1e-4
    )


def test_dense_crf__order_of_colours_hardly_matters(scene):
    image, _, scores = scene
    rgb = dense_crf(image, scores, SMALL)
    bgr = dense_crf(image[..., ::-1], scores, SMALL)
    assert (rgb.argmax(axis=0) == bgr.argmax(axis=0)).mean() > 0.98


def test_dense_crf__one_label_passes_through():
    image = np.zeros((4, 5, 3), np.uint8)
    posteriors = dense_crf(image, np.full((1, 4, 5), 0.25, np.float32), SMALL)
    assert posteriors.shape == (1, 4, 5)
    assert (posteriors == 1).all()


def test_dense_crf__wrong_size_is_an_error(scene):
    image, _, scores = scene
    with pytest.raises(ValueError, match=r"the image is \(23, 36, 3\)"):
        dense_crf(image[1:], scores, SMALL)


def test_dense_crf__missing_library_names_the_fix(scene, monkeypatch):
    monkeypatch.setitem(sys.modules, "pydensecrf.densecrf", None)
    image, _, scores = scene
    with pytest.raises(ConfigError, match=r"install pydensecrf2.*or set crf\.method: none"):
        dense_crf(image, scores, SMALL)


def test_unary_energy__equals_naive_loop():
    probabilities = np.random.default_rng(1).random((3, 4, 5), dtype=np.float32)
    probabilities[1, 0, 0] = 0
    energy = unary_energy(probabilities)
    assert energy.dtype == np.float32
    assert energy.flags.c_contiguous
    for label in range(3):
        for y in range(4):
            for x in range(5):
                share = probabilities[label, y, x] / sum(probabilities[:, y, x])
                assert energy[label, y, x] == pytest.approx(-np.log(max(share, 1e-8)), abs=1e-5)


def test_unary_energy__no_evidence_favours_nobody():
    energy = unary_energy(np.zeros((3, 1, 1), np.float32))
    assert np.isfinite(energy).all()
    assert np.ptp(energy) == 0


def test_dense_crf__of_a_larger_photograph_is_that_of_the_reduced_one(scene):
    image, _, scores = scene
    large = image.repeat(4, 0).repeat(4, 1), scores.repeat(4, 1).repeat(4, 2)
    wide = {"gaussian_sxy": 4 * SMALL.gaussian_sxy, "bilateral_sxy": 4 * SMALL.bilateral_sxy}
    bounded = SMALL.model_copy(update={"max_side": 36, **wide})

    posteriors = dense_crf(*large, bounded)

    expected = upsample_cams(dense_crf(image, scores, SMALL), 96, 144)
    np.testing.assert_allclose(posteriors, expected, atol=1e-5)
    np.testing.assert_allclose(posteriors.sum(axis=0), 1, atol=1e-5)


def test_dense_crf__within_the_bound_changes_nothing(scene):
    image, _, scores = scene
    bounded = SMALL.model_copy(update={"max_side": 36})

    np.testing.assert_array_equal(
        dense_crf(image, scores, bounded), dense_crf(image, scores, SMALL)
    )


def test_dense_crf__of_a_thin_photograph_keeps_a_row():
    photograph, scores = np.zeros((2, 400, 3), np.uint8), np.ones((2, 2, 400), np.float32)

    assert dense_crf(photograph, scores, Crf(max_side=100)).shape == (2, 2, 400)
