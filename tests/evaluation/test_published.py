"""The paper's tables as data: complete, and true to their own means."""

from __future__ import annotations

import pytest

from rca.evaluation.published.paper_tables import COLUMNS, beside_the_paper, published_tables

# Rows whose printed mean is not the rounded mean of their printed classes; by no more than the
# rounding of the classes explains.
OFF = {("S1", "SSNet"): 63.243, ("S2", "AuxSegNet"): 68.652}
MEAN_ONLY = {
    *(("S1", method) for method in ("SeeNet", "GroupWSSS")),
    *(("S2", method) for method in ("DSRG", "SEAM", "GroupWSSS")),
}


def rows():
    return {(table.name, row.method): row for table in published_tables() for row in table.rows}


def test_published_tables__hold_every_method_of_the_supplement():
    assert [len(table.rows) for table in published_tables()] == [16, 12]
    assert {key for key, row in rows().items() if not row.iou} == MEAN_ONLY
    assert all(tuple(row.iou) in ((), COLUMNS) for row in rows().values())


@pytest.mark.parametrize("key", sorted(set(rows()) - MEAN_ONLY), ids=" ".join)
def test_published_tables__means_are_those_of_the_classes(key):
    row = rows()[key]
    mean = sum(row.iou.values()) / 21
    if key in OFF:
        assert mean == pytest.approx(OFF[key], abs=5e-4)
        assert round(mean, 1) != row.miou and abs(mean - row.miou) < 0.1
    else:
        assert round(mean, 1) == row.miou


def test_published_tables__rca_leads_in_most_classes_of_the_test_set():
    leads = [
        sum(table.rows[-1].iou[name] == table.best(name) for name in COLUMNS)
        for table in published_tables()
    ]
    assert leads == [8, 14]


def metrics(classes, images=1449, policy="strict", coverage=100.0) -> dict:
    iou = {name: float(place) for place, name in enumerate(classes)}
    return {
        "protocol": {
            "classes": list(classes),
            "ignored_predictions": policy,
            "mask_source": "SegmentationClassAug",
            "segmentation_inference": {"scales": [0.5, 1.0], "flip": True, "crf": False},
            "signals": ["image tags", "saliency maps"],
        },
        "products": {
            "network_val": {"images": images, "iou": iou, "miou": 10.0, "coverage": coverage}
        },
    }


def test_beside_the_paper__puts_classes_into_the_papers_order():
    shuffled = ["background", *sorted(COLUMNS[1:], reverse=True)]
    found = beside_the_paper(metrics(shuffled))
    assert tuple(found["own"]["iou"]) == COLUMNS
    assert found["own"]["iou"]["tvmonitor"] == 1.0
    assert found["faults"] == []
    assert found["own"]["protocol"] == (
        "1449 validation images, SegmentationClassAug, predicted 255 strict (coverage 100 %), "
        "scales 0.5, 1, with flips, without CRF, learnt from image tags, saliency maps"
    )


def test_beside_the_paper__says_why_a_row_is_not_comparable():
    found = beside_the_paper(metrics(COLUMNS, images=80, policy="excluded", coverage=90.0))
    assert found["faults"] == [
        "80 validation images, VOC 2012 val has 1449",
        "pixels predicted 255 count as excluded",
    ]


def test_beside_the_paper__is_not_for_other_classes_or_without_scores():
    assert beside_the_paper(metrics(["background", "cat"])) is None
    assert beside_the_paper({**metrics(COLUMNS), "products": {}})["own"] is None
