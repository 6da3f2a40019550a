"""Masks from probabilities: the CRF's best label, and strips that leave no seam."""

import numpy as np
import pytest
from PIL import Image

from rca.config import Crf
from rca.inference import decision
from rca.inference.decision import Scored, decide, mask_of
from rca.labels.crf import dense_crf
from rca.labels.doubt import Witness, agreement


def scored(height, width, size=None):
    draws = np.random.default_rng(0)
    pixels = draws.integers(0, 256, (height, width, 3), dtype=np.uint8)
    probabilities = draws.dirichlet([1, 1, 1], (height, width)).transpose(2, 0, 1)
    return Scored(pixels, probabilities.astype(np.float32, order="C"), size or (height, width))


def test_decide__labels_are_those_of_the_highest_posterior():
    item = scored(12, 10)
    posteriors = dense_crf(item.pixels, item.probabilities, Crf(iterations=2))
    mask, confidence, doubt = decide(item, Crf(iterations=2))
    assert mask.dtype == np.uint8
    expected = [
        [max(range(3), key=lambda k: posteriors[k, y, x]) for x in range(10)] for y in range(12)
    ]
    assert mask.tolist() == expected
    np.testing.assert_array_equal(confidence, np.take_along_axis(posteriors, mask[None], 0)[0])
    np.testing.assert_array_equal(mask_of(item, Crf(iterations=2)), mask)
    assert (mask != item.probabilities.argmax(0)).any()
    witness = Witness(np.arange(3, dtype=np.uint8), item.probabilities)  # not the posteriors
    assert doubt == 1 - agreement(mask, witness)


def test_decide__crf_leaves_out_labels_without_a_chance(monkeypatch):
    item = scored(12, 10)
    rare = np.full((2, 12, 10), 0.0001, np.float32)
    among = np.concatenate([rare[:1], item.probabilities, rare[1:]])
    labels = np.array([0, 2, 5, 6, 9], np.uint8)
    refined = []

    def watched(image, probabilities, cfg):
        refined.append(len(probabilities))
        return dense_crf(image, probabilities, cfg)

    monkeypatch.setattr(decision, "dense_crf", watched)
    mask, confidence, doubt = decide(Scored(item.pixels, among, (12, 10), labels), Crf())
    posteriors = dense_crf(item.pixels, among, Crf())
    assert refined == [3]
    np.testing.assert_array_equal(mask, labels[posteriors.argmax(0)])
    np.testing.assert_allclose(confidence, posteriors.max(0), atol=1e-3)
    assert doubt == 1 - agreement(mask, Witness(labels, among))  # of all labels' probabilities


@pytest.mark.parametrize("strip", [1, 95, 10**6])
def test_decide__strips_are_the_whole_enlarged_at_once(monkeypatch, strip):
    monkeypatch.setattr(decision, "STRIP", strip)
    item = scored(12, 10, size=(41, 33))
    whole = np.stack(
        [
            np.asarray(Image.fromarray(channel).resize((33, 41), Image.Resampling.BILINEAR))
            for channel in item.probabilities
        ]
    )
    mask, confidence, doubt = decide(item, None)
    np.testing.assert_allclose(confidence, whole.max(0), atol=1e-5)
    assert (mask == whole.argmax(0)).mean() > 0.999
    small = scored(12, 10)
    assert doubt == decide(small, None).doubt  # whatever the size of the mask and of the strips
