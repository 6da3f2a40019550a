"""Each evaluator by hand on masks where they differ."""

from __future__ import annotations

import numpy as np
import pytest

from rca.evaluation.confusion import confusion_matrix
from rca.evaluation.evaluators import EVALUATORS, verdicts

VOC = 20


def scores(truth: list[int], prediction: list[int], classes: int = VOC) -> dict:
    rows = [np.array([labels], np.uint8) for labels in (truth, prediction)]
    return verdicts(confusion_matrix(*rows, classes))


def percent(*ious: float, over: int | None = None) -> float:
    return round(100 * sum(ious) / (over or len(ious)), 4)


# Background 4 pixels, of which one is predicted 255; label 1 has 4, of which one is 255 and one is
# called 2, which no true pixel is.
TRUTH = [0, 0, 0, 0, 1, 1, 1, 1, 255]
MASKS = [0, 0, 0, 255, 1, 1, 255, 2, 1]


def test_verdicts__of_masks_with_255_and_a_class_that_is_only_predicted():
    found = scores(TRUTH, MASKS)
    # IoU of background, 1 and 2; all others are in neither map.
    assert found["voc_devkit"] == {"miou": None, "why": "refuses masks that hold 255"}
    assert found["seam"] == {"miou": percent(3 / 4, 2 / 4, 0, over=21)}
    assert found["irn"] == {"miou": percent(4 / 5, 2 / 4, 0)}
    assert found["eps"] == {"miou": percent(3 / 3, 2 / 3, 0)}
    assert found["toco"] == {"miou": percent(3 / 3, 2 / 3)}
    # 21 · 0 + 255 is row 12, column 3, and 21 · 1 + 255 row 13, column 3: neither background nor 1
    # loses by it, and dog (12), horse (13) and bird (3) enter with an IoU of 0.
    assert found["deeplab_pytorch"] == {"miou": percent(3 / 3, 2 / 3, 0, 0, 0, 0)}
    assert found["clip_es"] == {"miou": percent(3 / 3, 2 / 3, 0, 0)}


def test_verdicts__a_pixel_of_label_9_predicted_255_stops_the_histogram():
    for label, why in ((8, None), (9, "crashes on a pixel of label 9 that is predicted 255")):
        found = scores([0, label], [0, 255])
        for name in ("deeplab_pytorch", "clip_es"):
            assert found[name].get("why") == why


def test_verdicts__the_overflowing_cell_equals_bincount():
    random = np.random.default_rng(0)
    truth = random.integers(0, 9, 500).astype(np.uint8)
    prediction = random.choice(np.array([0, 1, 3, 8, 255], np.uint8), 500)
    cells = 21 * truth.astype(int) + prediction
    histogram = np.bincount(cells, minlength=441).reshape(21, 21)
    with np.errstate(invalid="ignore"):
        ious = np.diag(histogram) / (histogram.sum(0) + histogram.sum(1) - np.diag(histogram))
    found = scores(list(truth), list(prediction))
    assert found["deeplab_pytorch"]["miou"] == pytest.approx(100 * np.nanmean(ious), abs=1e-4)
    in_truth = histogram.sum(1) > 0
    assert found["clip_es"]["miou"] == pytest.approx(100 * ious[in_truth].mean(), abs=1e-4)


def test_verdicts__absent_classes_without_any_255():
    found = scores([0, 0, 1, 1], [0, 0, 1, 0], classes=2)
    assert found["voc_devkit"] == {
        "miou": None,
        "why": "a class is in neither truth nor prediction",
    }
    assert found["seam"]["miou"] == percent(2 / 3, 1 / 2, over=3)
    for name in ("irn", "eps", "toco", "deeplab_pytorch", "clip_es"):
        assert found[name]["miou"] == percent(2 / 3, 1 / 2)


def test_verdicts__agree_where_nothing_is_uncertain_and_no_class_is_absent():
    found = scores([0, 0, 1, 1, 2], [0, 1, 1, 1, 2], classes=2)
    assert {verdict["miou"] for verdict in found.values()} == {percent(1 / 2, 2 / 3, 1)}
    assert len(found) == len(EVALUATORS)
