"""The whole pipeline on somebody's own photographs: tags, no masks, and one image without tags."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image
from typer.testing import CliRunner

from rca import cli
from rca.data.cam_store import CamStore
from rca.data.index import read_index
from rca.sources.unpacking import contents

pytestmark = pytest.mark.pipeline

ROOT = Path(__file__).parents[2]
SAMPLE = ROOT / "data/embedded/voc12_animals_sample.tar"
PHOTOGRAPHS = {"train": {"cat": 2, "dog": 2, "": 1}, "val": {"cat": 1, "": 1}}
UNTAGGED = "train_4"
R = "results/own"
COMMANDS = (
    "check",
    "download --out data/own",
    f"index --data data/own --out {R}/index",
    f"train-cam --index {R}/index --out {R}/train_cam",
    f"infer-cam --index {R}/index --weights {R}/train_cam/weights.safetensors"
    f" --attention {R}/train_cam/attention.safetensors --out {R}/infer_cam",
    f"readout --index {R}/index --weights {R}/train_cam/weights.safetensors"
    f" --cams {R}/infer_cam --out {R}/readout",
    f"pseudo-labels --index {R}/index --maps {R}/readout --out {R}/pseudo_labels",
    f"crf --index {R}/index --maps {R}/readout --labels {R}/pseudo_labels --out {R}/crf",
    f"train-seg --supervision pseudo --index {R}/index --labels {R}/crf --out {R}/train_seg/pseudo",
    f"infer-seg --index {R}/index --weights {R}/train_seg/pseudo/weights.safetensors"
    f" --out {R}/infer_seg/pseudo",
    f"evaluate --index {R}/index --cams {R}/infer_cam --readout {R}/readout"
    f" --pseudo-labels {R}/pseudo_labels --crf {R}/crf"
    f" --relabel {R}/relabel --predictions {R}/infer_seg --out {R}/evaluate",
    f"report --index {R}/index --results {R} --out {R}/report",
    f"track --results {R} --out {R}/track",
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The folder in which all stages ran."""
    home = tmp_path_factory.mktemp("own")
    (home / "data").mkdir()
    (home / "data/embedded").symlink_to(ROOT / "data/embedded")
    files = contents(SAMPLE, lambda name: name.startswith("JPEGImages/"))
    rows = ["image,tags,split"]
    for split, kinds in PHOTOGRAPHS.items():
        tags = [tag for tag, count in kinds.items() for _ in range(count)]
        for number, tag in enumerate(tags):
            _, content = next(files)
            path = home / "photographs" / f"{split} {number}.jpg"
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(content)
            rows.append(f"{path.name},{tag},{split}")
    (home / "photographs/tags.csv").write_text("\n".join(rows) + "\n")
    params = yaml.safe_load((ROOT / "configs/debug.yaml").read_text())
    params["experiment"] = "own"
    params["train_seg"]["supervisions"], params["relabel"]["teachers"] = {"pseudo": "crf"}, {}
    params["download"] = {
        "source": "folder", "name": "own", "folder": "photographs", "val_share": 0.2, "val_seed": 0,
        "on_bad_file": "error",
    }  # fmt: skip
    params["index"] |= {"classes": None, "untagged": "keep", "limit": None}
    (home / "params.yaml").write_text(yaml.safe_dump(params))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(home)
        for command in COMMANDS:
            run = CliRunner().invoke(cli.app, command.split())
            assert run.exit_code == 0, f"{command}: {run.output} {run.exception!r}"
        yield home


def test_index__keeps_the_image_without_tags(folder):
    index = read_index(Path(R) / "index")
    assert [record.image for record in index.split("train") if not record.tags] == [UNTAGGED]
    assert all(record.mask is None for record in index.records)


def test_infer_cam__of_an_image_without_tags_has_no_maps(folder):
    classes, cams = CamStore(folder / R / "infer_cam/train").read(UNTAGGED)
    assert len(classes) == len(cams) == 0


@pytest.mark.parametrize("stage", ["pseudo_labels", "crf"])
def test_labels__of_an_image_without_tags_are_255(folder, stage):
    labels = {
        path.stem: np.unique(np.array(Image.open(path))).tolist()
        for path in (folder / R / stage).glob("*.png")
    }
    assert len(labels) == 5
    assert labels[UNTAGGED] == [255]
    assert any(values != [255] for values in labels.values())


def test_evaluate__without_masks_scores_nothing_and_says_so(folder):
    metrics = json.loads((folder / R / "evaluate/metrics.json").read_text())
    assert metrics["products"] == {} and metrics["protocol"]["mask_source"] == "none"
    run = CliRunner().invoke(cli.app, ["table"])
    assert "Nothing is scored: the data set has no true masks." in run.stdout


def test_report__shows_predictions_without_truth(folder):
    page = (folder / R / "report/report.html").read_text()
    assert 'alt="Prediction, val_0"' in page and 'alt="Truth' not in page
    assert "no true masks" in page


def test_train_seg__on_the_truth_is_refused_before_it_starts(folder):
    options = f"--supervision truth --index {R}/index --labels {R}/crf --out {R}/train_seg/truth"
    run = CliRunner().invoke(cli.app, ["train-seg", *options.split()])
    assert "name it in train_seg.supervisions" in str(run.exception)

    params = yaml.safe_load((folder / "params.yaml").read_text())
    params["train_seg"]["supervisions"]["truth"] = "index"
    (folder / "with_truth.yaml").write_text(yaml.safe_dump(params))
    options += " --params with_truth.yaml"
    run = CliRunner().invoke(cli.app, ["train-seg", *options.split()])
    assert "training images have no mask to learn from" in str(run.exception)
