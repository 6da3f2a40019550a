"""Stage `evaluate` on three images scored by hand."""

from __future__ import annotations

import csv
import json
import logging
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from tiny_results import evaluate_results, tiny_params, write_results

from rca.data.cam_store import CamShard
from rca.data.images import DataError, write_label_map
from rca.data.palette import voc_palette
from rca.evaluation.count_images import count_folder
from rca.presentation.console import evaluators_text

# IoU of background, cat, dog; None where a class is in neither truth nor prediction.
STRICT = {
    "all_background_val": [1 / 4, None, 0],
    "cam_seeds_train": [4 / 6, 3 / 5, None],  # background: 2 + 2 right, 1 too many, 1 too few
    "pseudo_labels_train": [4 / 6, 2 / 5, None],  # one cat pixel is 255: a miss
    "crf_train": [4 / 5, 1, None],  # one background pixel is 255
    "cam_seeds_val": [1, None, 1],
    "network_val": [1, 0, 2 / 3],
    "fully_supervised_val": [1, None, 1],
}
COVERAGE = {"pseudo_labels_train": 8 / 9, "crf_train": 8 / 9}


# The best of the posteriors and of what they leave: in `a` one cat pixel is lost and the pixel
# whose CAM of 0.3 was over the threshold is right; in `v` as READ says.
READOUT = {
    "readout_train": [5 / 6, 3 / 4, None],
    "readout_val": [1, 0, 2 / 3],
}
READ = [
    [[0.3, 0.1], [0.45, 0.2]],  # cat
    [[0.3, 0.9], [0.35, 0.8]],  # dog; the background has 0.4, 0, 0.2 and 0
]  # 0, dog, cat (it is a dog) and dog


def run(results: Path, policy: str = "strict", out: str = "evaluate", **evaluated) -> Path:
    return evaluate_results(results, tiny_params(policy, **evaluated), out)


def metrics(folder: Path) -> dict:
    return json.loads((folder / "metrics.json").read_text())


def table(path: Path) -> list[list[str]]:
    with path.open(newline="") as file:
        return list(csv.reader(file))


def percent(share: float | None) -> float | None:
    return None if share is None else round(100 * share, 4)


def mean(shares: list[float | None]) -> float:
    present = [share for share in shares if share is not None]
    return percent(sum(present) / len(present))


def test_run__equals_the_numbers_by_hand(tmp_path):
    content = metrics(run(write_results(tmp_path)))
    assert list(content["products"]) == list(STRICT)
    for name, shares in STRICT.items():
        product = content["products"][name]
        assert list(product["iou"].values()) == [percent(share) for share in shares], name
        assert product["miou"] == content["miou"][name] == mean(shares)
        assert product["split"] == name.rsplit("_", 1)[1]
        assert product["images"] == (2 if product["split"] == "train" else 1)
        assert product["coverage"] == percent(COVERAGE.get(name, 1))
    assert content["miou"]["ratio_to_fully_supervised"] == round(5 / 9, 4)
    assert content["protocol"]["classes"] == ["background", "cat", "dog"]
    assert content["protocol"]["mask_source"] == "Masks"
    assert content["protocol"]["threshold"] == 0.25
    assert content["seed"] == 0


def test_run__other_measures_by_hand(tmp_path):
    labels = metrics(run(write_results(tmp_path)))["products"]["pseudo_labels_train"]
    # Background: 4 hits, 1 false positive, 1 false negative. Cat: 2 hits, 1 too many, 2 missed.
    assert labels["precision"] == {"background": 80.0, "cat": percent(2 / 3), "dog": None}
    assert labels["recall"] == {"background": 80.0, "cat": 50.0, "dog": None}
    assert labels["over_activation"]["cat"] == labels["mean_over_activation"] == 20.0
    assert labels["under_activation"]["cat"] == labels["mean_under_activation"] == 40.0
    assert labels["false_positive_ratio"] == 1 / 2 and labels["false_negative_ratio"] == 2 / 2
    # Images of a few pixels are boundary throughout: the two ways to miss outlines are one.
    assert labels["boundary_iou"] == labels["iou"]
    assert labels["evaluators"]["eps"]["miou"] == mean([4 / 6, 2 / 4])
    assert labels["evaluators"]["irn"]["miou"] == mean([4 / 7, 2 / 5])
    assert labels["evaluators"]["voc_devkit"]["miou"] is None
    low, high = labels["miou_interval"]
    assert low <= labels["miou"] <= high
    low, high = labels["gain_interval"]
    assert low <= labels["miou"] - mean(STRICT["cam_seeds_train"]) <= high


def test_run__posteriors_are_scored_by_the_best_with_the_rest_as_background(tmp_path):
    results = write_results(tmp_path)
    store = CamShard(16)
    store.add("v", np.array([0, 1]), np.array(READ))
    store.write(results / "readout/val/cams-00000.safetensors")
    content = metrics(run(results, readout="prototypes"))
    assert sorted(content["products"]) == sorted({**STRICT, **READOUT})
    for name, shares in {**STRICT, **READOUT}.items():
        product = content["products"][name]
        assert list(product["iou"].values()) == [percent(share) for share in shares], name
        assert product["miou"] == content["miou"][name] == mean(shares)
        assert product["coverage"] == percent(COVERAGE.get(name, 1))
    for name, before in (("pseudo_labels_train", "readout_train"), ("network_val", "readout_val")):
        low, high = content["products"][name]["gain_interval"]
        assert low <= content["miou"][name] - content["miou"][before] <= high
    assert content["protocol"]["readout"]["method"] == "prototypes"


def test_run__with_the_cams_as_they_are_has_no_readout(tmp_path):
    results = write_results(tmp_path)
    shutil.rmtree(results / "readout")
    content = metrics(run(results))
    assert list(content["products"]) == list(STRICT)
    assert content["protocol"]["readout"]["method"] == "cams"


def test_run__miou_alone_for_dvc(tmp_path):
    out = run(write_results(tmp_path))
    assert json.loads((out / "miou.json").read_text()) == metrics(out)["miou"]


def test_run__any_number_of_processes_counts_the_same(tmp_path, monkeypatch):
    monkeypatch.setattr("rca.evaluation.count_images.CHUNK", 1)
    results = write_results(tmp_path)
    one, two = run(results), run(results, out="two", processes=2)
    for file in one.iterdir():
        assert (two / file.name).read_bytes() == file.read_bytes()


def test_run__takes_tags_and_source_from_the_data_set(tmp_path):
    silent = metrics(run(write_results(tmp_path / "silent")))
    assert silent["protocol"]["data"]["tags"] == "not stated"
    source = {"name": "voc12", "source": "VOC 2012 + SBD", "tags": "XML", "tags_sha256": "ab"}
    stated = metrics(run(write_results(tmp_path / "stated", source=source)))
    assert stated["protocol"]["data"] == source


@pytest.mark.parametrize(
    ("policy", "pseudo_labels", "crf"),
    [
        ("background", [4 / 7, 2 / 5, None], [1, 1, None]),
        ("excluded", [4 / 6, 2 / 4, None], [1, 1, None]),
    ],
)
def test_run__policies_for_uncertain_pixels(tmp_path, policy, pseudo_labels, crf):
    content = metrics(run(write_results(tmp_path), policy))
    assert content["protocol"]["ignored_predictions"] == policy
    assert content["miou"]["pseudo_labels_train"] == mean(pseudo_labels)
    assert content["miou"]["crf_train"] == mean(crf)
    assert content["miou"]["network_val"] == mean(STRICT["network_val"])  # holds no 255


def test_run__tables(tmp_path):
    out = run(write_results(tmp_path))
    per_class = table(out / "per_class.csv")
    assert per_class[0][:5] == ["product", "class", "iou", "iou_low", "iou_high"]
    assert ["network_val", "dog", "66.6667"] in [row[:3] for row in per_class]
    assert ["all_background_val", "cat", *[""] * 8] in per_class
    assert len(per_class) == 1 + 3 * len(STRICT)
    per_image = table(out / "per_image.csv")
    assert per_image[0] == ["product", "image", "iou", "iou_background", "iou_cat", "iou_dog"]
    # Background 2/4, cat 2/5; dog is in neither map.
    assert ["pseudo_labels_train", "a", "45.0", "50.0", "40.0", ""] in per_image
    assert ["crf_train", "b", "50.0", "50.0", "", ""] in per_image
    assert len(per_image) == 1 + 3 * 2 + 4
    confusion = json.loads((out / "confusion.json").read_text())
    assert confusion["classes"] == ["background", "cat", "dog"]
    assert confusion["pseudo_labels_train"] == [[4, 1, 0, 0], [1, 2, 0, 1], [0, 0, 0, 0]]
    shares = table(out / "confusion.csv")
    assert shares[0] == ["product", "true", "predicted", "share"]
    assert ["pseudo_labels_train", "cat", "255", "25.0"] in shares
    assert ["pseudo_labels_train", "dog", "cat", ""] in shares  # there is no dog
    assert len(shares) == 1 + 3 * 4 * len(STRICT)


def test_run__sweep_agrees_with_the_seeds_at_the_threshold(tmp_path):
    out = run(write_results(tmp_path))
    rows = table(out / "sweep.csv")
    assert rows[0] == ["threshold", "miou", "over_activation", "under_activation"]
    (row,) = [row for row in rows if row[0] == "0.250"]
    assert row[1:] == [str(mean(STRICT["cam_seeds_train"])), "20.0", "20.0"]


def test_run__same_inputs_same_bytes(tmp_path):
    results = write_results(tmp_path)
    first, second = run(results), run(results, out="again")
    names = sorted(path.name for path in first.iterdir())
    assert names == sorted(path.name for path in second.iterdir())
    assert names == [
        "confusion.csv", "confusion.json", "doubt.csv", "metrics.json", "miou.json",
        "per_class.csv", "per_image.csv", "sweep.csv",
    ]  # fmt: skip
    for name in names:
        assert (first / name).read_bytes() == (second / name).read_bytes()


def test_run__without_the_network_trained_on_truth(tmp_path):
    content = metrics(run(write_results(tmp_path, truth_network=False)))
    assert list(content["products"]) == list(STRICT)[:-1]
    assert list(content["miou"]) == list(STRICT)[:-1]


def test_run__without_masks_leaves_products_out(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    content = metrics(run(write_results(tmp_path, masks=False)))
    assert content["miou"] == content["products"] == {}
    assert content["protocol"]["mask_source"] == "none"
    assert "val left out: no image has a mask" in caplog.text


def test_count_folder__scores_label_maps_from_anywhere(tmp_path):
    results = write_results(tmp_path)
    counts = count_folder(results / "index", "train", results / "pseudo_labels", 1)
    assert counts.matrix.tolist() == [[4, 1, 0, 0], [1, 2, 0, 1], [0, 0, 0, 0]]
    text = evaluators_text(counts.matrix, len(counts.images))
    assert re.search(rf"^eps +left out .* {mean([4 / 6, 2 / 4]):.2f}$", text, re.MULTILINE)
    assert re.search(r"^voc_devkit .* refuses masks that hold 255$", text, re.MULTILINE)
    assert text.endswith("2 images, 88.89 % not predicted 255")


def test_count_folder__without_true_masks_is_refused(tmp_path):
    results = write_results(tmp_path, masks=False)
    with pytest.raises(DataError, match="no val image has a true mask"):
        count_folder(results / "index", "val", results / "crf", 1)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([[0, 2, 2]], r"infer_seg/pseudo/v.png .*prediction is 3 × 1, truth is 2 × 2"),
        ([[0, 2], [2, 9]], r"infer_seg/pseudo/v.png .*prediction holds 9"),
        (None, r"infer_seg/pseudo/v.png: no such image"),
    ],
)
def test_run__a_wrong_prediction_is_named(tmp_path, labels, message):
    results = write_results(tmp_path)
    path = results / "infer_seg/pseudo/v.png"
    path.unlink()
    if labels:
        write_label_map(path, np.array(labels, np.uint8), voc_palette())
    with pytest.raises(DataError, match=message):
        run(results)
    assert not (results / "evaluate").exists()
