"""Doubts of the tiny results, worked out by hand; no mask has a part in them."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from tiny_results import evaluate_results, tiny_params, write_results

from rca.data.cam_store import CamShard, CamStore
from rca.data.images import DataError, write_label_map
from rca.data.palette import voc_palette
from rca.evaluation.doubt_images import Doubted, foretold

# CAM seeds of `a` are [[0 0 1 1] [1 1 0 1]], its label after CRF is [[0 0 1 1] [0 0 1 1]]: 2 pixels
# of 5 are background in both, 3 of 6 cat. `b`, all background to the seeds, has 255, and dog, at
# one pixel each: 2 of 4, and 0 of 1. `v`: [[0 2] [2 2]] against [[0 2] [2 1]].
SEEDS = {"a": (2 / 5 + 3 / 6) / 2, "b": (2 / 4 + 0) / 2, "v": (1 + 0 + 2 / 3) / 3}
# Posteriors of cat and dog for `v`; they leave 0.6, 0 and 0.1, 0 for the background.
READ = [[[0.3, 0.1], [0.5, 0.2]], [[0.1, 0.9], [0.4, 0.8]]]
# The mask has the background at the first pixel, dog at the second and third, cat at the last.
READOUT = {
    "v": (0.6 / (1 + 0.1) + 0.2 / (1 + 0.9) + (0.9 + 0.4) / (2 + 0.9)) / 3,
}


def table(folder: Path) -> dict[str, dict[str, str]]:
    with (folder / "doubt.csv").open(newline="") as file:
        return {row["image"]: row for row in csv.DictReader(file)}


def with_posteriors(results: Path) -> Path:
    store = CamShard(16)
    store.add("v", np.array([0, 1]), np.array(READ))
    store.write(results / "readout/val/cams-00000.safetensors")
    return results


def test_doubt__without_posteriors_is_what_the_seeds_do_not_bear_out(tmp_path):
    rows = table(evaluate_results(write_results(tmp_path), tiny_params()))
    assert list(rows) == ["a", "b", "v"]
    for image, agreed in SEEDS.items():
        row = rows[image]
        assert row["split"] == ("val" if image == "v" else "train")
        assert float(row["doubt"]) == pytest.approx(1 - agreed, abs=6e-5)
        assert float(row["cam_seeds"]) == pytest.approx(agreed, abs=6e-5)
        assert row["readout"] == ""


def test_doubt__with_posteriors_is_what_they_do_not_bear_out(tmp_path):
    results = with_posteriors(write_results(tmp_path))
    row = table(evaluate_results(results, tiny_params(readout="prototypes")))["v"]
    assert float(row["readout"]) == pytest.approx(READOUT["v"], abs=2e-4)
    assert float(row["doubt"]) == pytest.approx(1 - READOUT["v"], abs=2e-4)
    assert float(row["cam_seeds"]) == pytest.approx(SEEDS["v"], abs=6e-5)


def test_doubt__is_the_same_bytes_without_masks_and_in_any_number_of_processes(
    tmp_path, monkeypatch
):
    monkeypatch.setattr("rca.evaluation.doubt_images.CHUNK", 1)
    masked = write_results(tmp_path / "masked")
    maskless = write_results(tmp_path / "maskless", masks=False)
    known = (evaluate_results(masked, tiny_params()) / "doubt.csv").read_bytes()
    assert (evaluate_results(maskless, tiny_params()) / "doubt.csv").read_bytes() == known
    several = evaluate_results(masked, tiny_params(processes=2), "several")
    assert (several / "doubt.csv").read_bytes() == known


def test_doubt__of_an_image_without_any_label_is_whole(tmp_path):
    results = write_results(tmp_path)
    nothing = np.full((1, 4), 255, np.uint8)
    write_label_map(results / "crf/b.png", nothing, voc_palette())
    assert table(evaluate_results(results, tiny_params()))["b"]["doubt"] == "1.0000"


def test_metrics__say_how_doubt_ranks_with_the_truth(tmp_path):
    metrics = json.loads(
        (evaluate_results(write_results(tmp_path), tiny_params()) / "metrics.json").read_text()
    )
    # `a` has the IoU 1 and is doubted less than `b`; a single image has no rank.
    assert metrics["doubt"] == {
        "train": {"product": "crf_train", "images": 2, "rank_correlation_with_iou": -1.0},
        "val": {"product": "network_val", "images": 1, "rank_correlation_with_iou": None},
    }
    without = write_results(tmp_path / "without", masks=False)
    content = json.loads((evaluate_results(without, tiny_params()) / "metrics.json").read_text())
    assert content["doubt"] == {}


def test_foretold__leaves_out_what_cannot_be_scored():
    doubted = [
        Doubted("val", image, {"cam_seeds": agreed})
        for image, agreed in (("x", 0.2), ("y", 0.4), ("z", 0.9), ("no mask", 0.1))
    ]
    found = foretold(doubted, {"network_val": {"x": 0.3, "y": 0.1, "z": float("nan")}})
    assert found == {
        "val": {"product": "network_val", "images": 2, "rank_correlation_with_iou": 1.0}
    }


def test_doubt__of_a_mask_of_another_size_names_it(tmp_path):
    results = write_results(tmp_path, masks=False)
    write_label_map(results / "crf/a.png", np.zeros((3, 3), np.uint8), voc_palette())
    with pytest.raises(DataError, match=r"crf/a.png does not fit .*a.png: the mask is"):
        evaluate_results(results, tiny_params())


def test_evaluate__opens_each_store_once_however_many_images_there_are(tmp_path, monkeypatch):
    for module in ("doubt_images", "count_images"):
        monkeypatch.setattr(f"rca.evaluation.{module}.CHUNK", 1)
    opened = []
    monkeypatch.setattr(
        "rca.evaluation.count_images.CamStore",
        lambda folder: opened.append(folder.name) or CamStore(folder),
    )
    evaluate_results(write_results(tmp_path), tiny_params())
    assert sorted(opened) == ["train", "train", "val", "val"]  # scores, then doubts
