"""The counts of images against loops over their pixels."""

from __future__ import annotations

import numpy as np
import pytest

from rca.evaluation.pixel_counts import Counts, Rules

CLASSES = 80
RULES = Rules(CLASSES, "strict", boundary=0.02)


@pytest.fixture
def images():
    draws = np.random.default_rng(0)
    labels = np.array([0, 3, CLASSES, 255], np.uint8)
    return {name: draws.choice(labels, (2, 9, 7)) for name in "abc"}


def counted(images):
    counts = Counts.none(CLASSES)
    for name, (truth, prediction) in images.items():
        counts.add(name, truth, prediction, RULES)
    return counts


def by_loop(truth, prediction):
    found = np.zeros((3, CLASSES + 1), np.int64)
    for true, predicted in zip(truth.ravel(), prediction.ravel(), strict=True):
        if true == 255:
            continue
        if true == predicted:
            found[0, true] += 1
        else:
            found[2, true] += 1
            if predicted != 255:
                found[1, predicted] += 1
    return found


def test_errors__are_those_of_each_image_by_a_loop(images):
    errors = counted(images).errors()
    assert errors.dtype == np.int64
    np.testing.assert_array_equal(errors, [by_loop(*pair) for pair in images.values()])


def test_image_ious__are_nan_for_labels_in_neither_map(images):
    ious = counted(images).image_ious()
    for name, pair in images.items():
        hits, false_positives, false_negatives = by_loop(*pair)
        union = hits + false_positives + false_negatives
        expected = [h / u if u else np.nan for h, u in zip(hits, union, strict=True)]
        np.testing.assert_array_equal(ious[name], expected)
        assert np.isnan(ious[name]).sum() == CLASSES + 1 - 3


def test_image__keeps_the_labels_that_it_holds_alone(images):
    for image in counted(images).images.values():
        assert image.labels.tolist() == [0, 3, CLASSES]
        assert image.counts.shape == (3, 3)


def test_merge__is_as_if_counted_together(images):
    first, *others = ({name: pair} for name, pair in images.items())
    merged = counted(first)
    for other in others:
        merged.merge(counted(other))
    whole = counted(images)
    np.testing.assert_array_equal(merged.errors(), whole.errors())
    np.testing.assert_array_equal(merged.matrix, whole.matrix)
    np.testing.assert_array_equal(merged.boundary, whole.boundary)
    assert merged.matrix.sum() == sum((truth != 255).sum() for truth, _ in images.values())


def test_errors__of_no_image_have_no_rows():
    assert Counts.none(CLASSES).errors().shape == (0, 3, CLASSES + 1)
