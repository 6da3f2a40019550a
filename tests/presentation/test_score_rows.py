"""The report's numbers."""

from __future__ import annotations

from rca.presentation.score_rows import (
    best_threshold,
    confusion_shares,
    confusions,
    image_scores,
    stage_rows,
)


def product(split: str, miou: float | None) -> dict:
    return {"split": split, "images": 3, "miou": miou, "iou": {}, "coverage": 90.0}


def test_stage_rows__gain_is_over_the_step_before_on_the_same_split():
    products = {
        "crf_train": product("train", 60.0),
        "cam_seeds_train": product("train", 40.0),
        "pseudo_labels_train": product("train", 45.0),
        "cam_seeds_val": product("val", 50.0),
        "network_val": product("val", 48.0),
    }
    rows = stage_rows(
        {"products": products, "miou": {name: row["miou"] for name, row in products.items()}}
    )
    assert [(row["title"], row["split"], row["gain"]) for row in rows] == [
        ("CAM seeds", "train", None),
        ("Pseudo-labels", "train", 5.0),
        ("Pseudo-labels after CRF", "train", 15.0),
        ("CAM seeds", "val", None),  # all_background_val is not there
        ("Segmentation network", "val", -2.0),
    ]


def test_stage_rows__gain_is_over_the_readout_where_there_is_one():
    products = {
        "cam_seeds_train": product("train", 40.0),
        "readout_train": product("train", 47.0),
        "pseudo_labels_train": product("train", 46.0),
    }
    rows = stage_rows(
        {"products": products, "miou": {name: row["miou"] for name, row in products.items()}}
    )
    assert [(row["title"], row["gain"], row["over"]) for row in rows] == [
        ("CAM seeds", None, None),
        ("Prototype readout", 7.0, "CAM seeds"),
        ("Pseudo-labels", -1.0, "Prototype readout"),
    ]


def test_confusion_shares__are_percent_of_each_true_class():
    shares = confusion_shares([[6, 2, 2], [0, 0, 0]])
    assert shares == [[60.0, 20.0, 20.0], [None, None, None]]


def test_confusions__largest_first_without_the_right_ones():
    shares = [[90.0, 4.0, 6.0, 0.0], [20.0, 70.0, 0.0, 10.0], [None] * 4]
    assert confusions(shares, ["background", "cat", "dog"]) == [
        (20.0, "cat", "background"),
        (10.0, "cat", "uncertain (255)"),
        (6.0, "background", "dog"),
    ]
    assert confusions([], ["background", "cat"]) == []


def test_image_scores__leave_blanks_out():
    rows = [
        {"product": "crf_train", "image": "a", "iou": "12.5"},
        {"product": "crf_train", "image": "b", "iou": ""},
        {"product": "network_val", "image": "c", "iou": "0.0"},
    ]
    assert image_scores(rows) == {"crf_train": {"a": 12.5}, "network_val": {"c": 0.0}}


def test_image_scores__of_one_class():
    rows = [{"product": "crf_train", "image": "a", "iou": "12.5", "iou_cat": "20.0"}]
    assert image_scores(rows, "iou_cat") == {"crf_train": {"a": 20.0}}


def test_best_threshold__of_the_rows_with_a_value():
    rows = [{"threshold": 0.1, "miou": 20.0}, {"threshold": 0.2, "miou": 30.0}]
    assert best_threshold([*rows, {"threshold": 0.3, "miou": None}]) == (0.2, 30.0)
    assert best_threshold([]) is None
