"""Agreement, whose rest is the doubt: against loops over pixels, and in closed form."""

from __future__ import annotations

import numpy as np
import pytest

from rca.evaluation.confusion import confusion_matrix, iou, mean_present
from rca.labels.doubt import Witness, agreement, from_map

SHAPE = (5, 7)


def scene(seed: int, classes: int = 3) -> tuple[np.ndarray, Witness]:
    """A mask with some 255, and shares that sum to 1 at every pixel."""
    draw = np.random.default_rng(seed)
    mask = draw.choice([0, 1, 2, 255], SHAPE).astype(np.uint8)
    shares = draw.dirichlet(np.full(classes, 0.5), SHAPE).transpose(2, 0, 1)
    return mask, Witness(np.array([0, 2, 3, 5][:classes], np.uint8), shares.astype(np.float32))


def by_loops(mask: np.ndarray, witness: Witness) -> float:
    """The definition, pixel by pixel."""
    pixels = [(y, x) for y in range(mask.shape[0]) for x in range(mask.shape[1])]
    given = {
        int(label): witness.shares[place].astype(float)
        for place, label in enumerate(witness.labels)
    }
    known = {int(mask[at]) for at in pixels} - {255}
    known |= {max(given, key=lambda label: given[label][at]) for at in pixels}
    ratios = []
    for label in known:
        least = most = 0.0
        for at in pixels:
            m, p = float(mask[at] == label), float(given[label][at]) if label in given else 0.0
            least, most = least + min(m, p), most + max(m, p)
        ratios.append(least / most)
    return sum(ratios) / len(ratios)


@pytest.mark.parametrize("seed", range(5))
def test_agreement__equals_the_definition_pixel_by_pixel(seed):
    mask, witness = scene(seed)
    assert agreement(mask, witness) == pytest.approx(by_loops(mask, witness), abs=1e-6)


def test_agreement__in_closed_form():
    mask = np.array([[0, 0, 1, 1]], np.uint8)
    shares = np.array([[[0.8, 0.6, 0.3, 0.1]], [[0.2, 0.4, 0.7, 0.9]]])
    # Background: 1.4 of 2 + 0.4; class 1: 1.6 of 2 + 0.6.
    expected = (1.4 / 2.4 + 1.6 / 2.6) / 2
    assert agreement(mask, Witness(np.array([0, 1], np.uint8), shares)) == pytest.approx(expected)


def test_agreement__with_a_label_map_is_the_images_miou():
    draw = np.random.default_rng(0)
    mask, other = (draw.integers(0, 4, SHAPE).astype(np.uint8) for _ in range(2))
    expected = mean_present(iou(confusion_matrix(other, mask, 3), "strict"))
    assert agreement(mask, from_map(other)) == pytest.approx(expected)
    assert agreement(mask, from_map(mask)) == 1


def test_agreement__is_the_mean_iou_of_truths_drawn_from_sure_shares():
    """With shares near 0 and 1 the ratio of expected counts is the expected ratio."""
    mask = np.repeat(np.arange(2, dtype=np.uint8), 200).reshape(20, 20)
    shares = np.where(np.arange(2)[:, None, None] == mask, 0.95, 0.05)
    draw = np.random.default_rng(0)
    drawn = []
    for _ in range(300):
        truth = np.where(draw.random(mask.shape) < shares[0], 0, 1).astype(np.uint8)
        drawn.append(mean_present(iou(confusion_matrix(truth, mask, 1), "strict")))
    found = agreement(mask, Witness(np.array([0, 1], np.uint8), shares))
    assert found == pytest.approx(np.mean(drawn), abs=0.003)


@pytest.mark.parametrize("seed", range(5))
def test_agreement__does_not_depend_on_the_order_of_the_classes(seed):
    mask, (labels, shares) = scene(seed)
    order = np.array([2, 0, 1])
    assert agreement(mask, Witness(labels[order], shares[order])) == agreement(
        mask, Witness(labels, shares)
    )
    values = np.arange(256, dtype=np.uint8)
    values[[0, 1, 2, 3]] = [3, 0, 1, 2]  # another numbering of the same classes
    renamed = agreement(values[mask], Witness(values[labels], shares))
    assert renamed == pytest.approx(agreement(mask, Witness(labels, shares)), abs=1e-12)


@pytest.mark.parametrize("seed", range(20))
def test_agreement__is_within_0_and_1(seed):
    mask, (labels, shares) = scene(seed)
    assert 0 <= agreement(mask, Witness(labels, shares)) <= 1
    assert 0 <= agreement(mask, Witness(labels, np.ones_like(shares))) <= 1
    assert agreement(np.full_like(mask, 7), Witness(labels, shares)) == 0


def test_agreement__of_a_mask_without_labels_is_none():
    mask, witness = scene(0)
    assert agreement(np.full_like(mask, 255), witness) == 0
    assert agreement(np.full_like(mask, 255), from_map(np.full_like(mask, 255))) == 0


def test_agreement__of_other_sizes_is_refused():
    mask, witness = scene(0)
    with pytest.raises(ValueError, match="the mask is"):
        agreement(mask[1:], witness)
