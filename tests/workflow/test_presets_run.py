"""The preset for one's own photographs, exactly as it is shipped, through the whole pipeline."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from test_engines import SNAKEMAKE, Copy, Run

from rca.data.index import Index, read_index
from rca.sources.unpacking import contents

pytestmark = pytest.mark.pipeline

ROOT = Path(__file__).parents[2]
SAMPLE = ROOT / "data/embedded/voc12_animals_sample.tar"
ANIMALS = {"cat", "dog", "cow"}
PHOTOGRAPHS = 24
RESULTS = "results/own_folder"


@pytest.fixture(scope="module")
def copy(tmp_path_factory) -> Copy:
    """A repository with the preset, and the folder that it asks for: tags, no masks, no split."""
    copy = Copy(tmp_path_factory.mktemp("preset") / "own_folder")
    for name, content in photographs().items():
        (copy.root / "photographs" / name).parent.mkdir(exist_ok=True)
        (copy.root / "photographs" / name).write_bytes(content)
    assert copy.run("rca use own_folder").status == 0
    return copy


@pytest.fixture(scope="module")
def run(copy) -> Run:
    return copy.run(SNAKEMAKE)


@pytest.fixture(scope="module")
def index(copy, run) -> Index:
    assert run.status == 0, run.text
    return read_index(copy.root / RESULTS / "index")


def photographs() -> dict[str, bytes]:
    """The first photographs of the sample that show an animal each, and `tags.csv`."""
    ((_, table),) = contents(SAMPLE, lambda name: name == "tags.csv")
    tags = {
        row["image"]: row["tags"]
        for row in csv.DictReader(io.StringIO(table.decode()))
        if row["tags"] in ANIMALS
    }
    tags = dict(list(tags.items())[:PHOTOGRAPHS])
    assert len(tags) == PHOTOGRAPHS and set(tags.values()) == ANIMALS
    files = contents(
        SAMPLE, lambda name: name.startswith("JPEGImages/") and Path(name).stem in tags
    )
    rows = "".join(f"{image}.jpg,{tag}\n" for image, tag in tags.items())
    return {
        "tags.csv": f"image,tags\n{rows}".encode(),
        **{Path(name).name: content for name, content in files},
    }


def test_own_folder__is_run_as_it_is_shipped(copy, index):
    written = (copy.root / "params.yaml").read_text().splitlines()
    assert written[1:] == (ROOT / "configs/own_folder.yaml").read_text().splitlines()[1:]
    assert set(index.classes) == ANIMALS
    assert len(index.records) == PHOTOGRAPHS
    assert all(record.mask is None for record in index.records)


def test_own_folder__makes_masks_of_the_images_held_back(copy, index):
    masks = copy.root / RESULTS / "infer_seg/pseudo"
    records = index.split("val")
    assert 1 <= len(records) < PHOTOGRAPHS / 2
    assert {path.stem for path in masks.glob("*.png")} == {record.image for record in records}
    for record in records:
        labels = np.array(Image.open(masks / f"{record.image}.png"))
        assert labels.shape == (record.height, record.width)
        assert set(np.unique(labels)) <= {*range(len(ANIMALS) + 1)}


def test_own_folder__labels_the_training_images_with_their_tags_and_background(copy, index):
    found = set()
    for record in index.split("train"):
        labels = np.array(Image.open(copy.root / RESULTS / f"crf/{record.image}.png"))
        tagged = {index.classes.index(tag) + 1 for tag in record.tags}
        assert set(np.unique(labels)) <= {0, 255} | tagged
        found |= set(np.unique(labels).tolist())
    assert {0, 1, 2, 3} <= found  # not all background, not all uncertain


def test_own_folder__ends_in_a_report_without_numbers(copy, index):
    page = (copy.root / RESULTS / "report/report.html").read_text()
    image = index.split("val")[0].image
    assert f'alt="Prediction, {image}"' in page
    assert "no true masks" in page
    metrics = json.loads((copy.root / RESULTS / "evaluate/metrics.json").read_text())
    assert metrics["products"] == {}
    assert metrics["protocol"]["readout"]["method"] == "prototypes"
