"""What a stage says it made, and what a run ends with."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest

from rca.cli import outcomes
from rca.cli.app import parameters
from rca.cli.summary import summary
from rca.config import ConfigError
from rca.runtime.state import Shard

ROOT = Path(__file__).parents[1]


@pytest.fixture
def index(tmp_path) -> Path:
    (tmp_path / "index.csv").write_text("image,split\na,train\nb,train\nc,val\n")
    (tmp_path / "dataset.json").write_text('{"classes": ["cat", "cow"]}')
    return tmp_path


@pytest.fixture
def here(tmp_path, monkeypatch) -> Path:
    """A working folder with parameters."""
    monkeypatch.chdir(tmp_path)
    Path("params.yaml").write_bytes((ROOT / "configs/debug.yaml").read_bytes())
    return tmp_path


def test_index__says_splits_and_classes(index):
    assert outcomes.indexed(index) == "2 training and 1 validation images of 2 classes"


def test_readout__says_of_which_images_its_maps_are_and_of_how_many_prototypes(index):
    assert outcomes.activation_maps(index) == "class activation maps of 2 + 1 images"
    assert outcomes.class_maps(index, index) == "class maps of 2 + 1 images"
    (index / "nearest.json").write_text('[{"label": "cat"}, {"label": "cat"}, {"label": "cow"}]')
    assert outcomes.class_maps(index, index) == "class maps of 2 + 1 images, from 3 prototypes"


def test_training__says_its_losses(tmp_path):
    (tmp_path / "history.csv").write_text("epoch,loss\n1,2.5\n2,1.25\n")
    assert outcomes.trained(tmp_path) == "2 epochs, loss 2.500 → 1.250"


def test_label_maps__are_counted(tmp_path):
    for name in ("a.png", "b.png", "note.txt"):
        (tmp_path / name).touch()
    assert outcomes.label_maps(tmp_path, "masks") == "masks of 2 images"


@pytest.mark.parametrize(
    ("miou", "said"),
    [
        (
            {"crf_train": 74.83, "network_val": 55.5},
            "mIoU: labels after the CRF 74.8 %, network 55.5 %",
        ),
        ({"network_val": None, "crf_train": 0.0}, "mIoU: labels after the CRF 0.0 %"),
        ({}, "nothing to score: there are no true masks"),
    ],
)
def test_evaluate__says_the_scores_that_there_are(tmp_path, miou, said):
    (tmp_path / "miou.json").write_text(json.dumps(miou))
    assert outcomes.scored(tmp_path) == said


@pytest.mark.parametrize(("saved", "said"), [(True, "is in MLflow"), (False, "is not in MLflow")])
def test_track__says_whether_mlflow_has_the_run(tmp_path, saved, said):
    (tmp_path / "run.json").write_text(json.dumps({"run_name": "demo", "saved": saved}))
    assert outcomes.tracked(tmp_path) == f"run demo {said}"


def said(caplog, made, shard: Shard = Shard(1, 1)) -> list[str]:
    caplog.set_level(logging.INFO, "rca")
    with parameters(Path("params.yaml"), "crf", out=Path("o"), shard=shard, made=made):
        pass
    return [record.getMessage() for record in caplog.records]


def test_verb__ends_with_what_it_made_and_how_long_it_took(here, caplog):
    assert said(caplog, lambda: "three masks") == ["three masks (0 s)"]


def test_verb__of_a_share_says_which(here, caplog):
    assert said(caplog, lambda: "three masks", Shard(2, 3)) == ["share 2 of 3 (0 s)"]


def test_verb__whose_files_cannot_be_read_is_done_all_the_same(here, caplog):
    assert said(caplog, lambda: outcomes.trained(Path("nowhere"))) == ["done (0 s)"]


def test_verb__that_fails_says_nothing_of_what_it_made(here, caplog):
    with (
        pytest.raises(ConfigError),
        parameters(Path("params.yaml"), "crf", out=Path("o"), made=lambda: "three masks"),
    ):
        raise ConfigError("no")
    assert not caplog.records


def test_summary__says_where_the_masks_are_and_what_can_be_done_next(here, monkeypatch):
    for folder in ("evaluate", "infer_seg", "train_seg"):
        Path("results/e", folder).mkdir(parents=True)
    Path("results/e/evaluate/metrics.json").write_text('{"miou": {}, "products": {}}')
    assert summary(Path("results/e")).splitlines() == [
        "Nothing is scored: the data set has no true masks.",
        "Masks:  results/e/infer_seg/ (validation images)",
        "Next:   rca predict PHOTOGRAPHS --weights results/e --out FOLDER",
    ]
    # A shell that has not activated the checkout's environment finds it by its path.
    monkeypatch.setattr("sys.prefix", str(here / ".venv"))
    assert "Next:   .venv/bin/rca predict" in summary(Path("results/e"))
