from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from rca.config import ConfigError, Params
from rca.tracking.record import read_record

DOWNLOAD = {"source": "archive", "name": "set", "archive": "set.tar", "sha256": "0" * 64}
METRICS = {
    "miou": {"cam_seeds_train": 41.5, "network_val": None, "ratio_to_fully_supervised": 0.8},
    "products": {
        "cam_seeds_train": {"iou": {"background": 70.0, "potted plant": None, "cat": 13.0}},
        "network_val": {"iou": {}},
    },
}


@pytest.fixture
def results(tmp_path) -> Path:
    """What the stages leave, as far as tracking reads it."""
    write(tmp_path / "evaluate/metrics.json", json.dumps(METRICS))
    write(tmp_path / "evaluate/per_class.csv", "product,class,iou\n")
    write(tmp_path / "report/report.html", "<html>")
    write(tmp_path / "train_cam/history.csv", "epoch,loss,contrast\n1,0.9,\n2,0.5,0.25\n")
    write(tmp_path / "train_seg/pseudo/history.csv", "epoch,loss\n1,2.0\n")
    return tmp_path


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def params(**changes) -> Params:
    return Params.model_validate({"experiment": "e", "download": DOWNLOAD, **changes})


def test_read_record__flattens_parameters_without_track(results):
    record = read_record(results, params(index={"classes": ["cat", "dog"]}))

    assert record.params["experiment"] == "e"
    assert record.params["train_cam.backbone.name"] == "vgg16"
    assert record.params["train_cam.optimiser.lr"] == "0.001"
    assert record.params["index.classes"] == '["cat", "dog"]'
    assert record.params["index.limit"] == "null"
    assert not any(key.startswith("track") for key in record.params)


def test_read_record__keeps_the_parameters_as_a_file_that_loads(results):
    configuration = params(seed=3)

    record = read_record(results, configuration)

    assert Params.model_validate(yaml.safe_load(record.params_file)) == configuration


def test_read_record__names_scores_by_product_and_class(results):
    assert read_record(results, params()).metrics == {
        "miou/cam_seeds_train": 41.5,
        "ratio_to_fully_supervised": 0.8,
        "iou/cam_seeds_train/background": 70.0,
        "iou/cam_seeds_train/cat": 13.0,
    }


def test_read_record__reads_the_curves_of_every_training(results):
    assert read_record(results, params()).curves == {
        "train_cam/loss": ((1, 0.9), (2, 0.5)),
        "train_cam/contrast": ((2, 0.25),),
        "train_seg/pseudo/loss": ((1, 2.0),),
    }


def test_read_record__takes_the_files_that_are_there(results):
    files = read_record(results, params()).files

    assert [file.relative_to(results).as_posix() for file in files] == [
        "evaluate/metrics.json",
        "evaluate/per_class.csv",
        "report/report.html",
    ]


def test_read_record__of_a_run_that_is_not_evaluated_says_what_to_do(tmp_path):
    with pytest.raises(ConfigError, match="rca evaluate"):
        read_record(tmp_path, params())


def test_key__is_of_parameters_and_numbers(results):
    key = read_record(results, params()).key

    assert read_record(results, params()).key == key
    assert read_record(results, params(seed=1)).key != key
    write(results / "train_cam/history.csv", "epoch,loss,contrast\n1,0.9,\n2,0.5,0.26\n")
    assert read_record(results, params()).key != key


def test_key__does_not_care_where_the_run_is_tracked(results):
    elsewhere = params(track={"uri": "sqlite:///other.db", "run_name": "x"})

    assert read_record(results, elsewhere).key == read_record(results, params()).key
