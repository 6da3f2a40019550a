"""The commands of the tutorial own_photographs.md as they stand: preset as shipped, new masks.

A person's home holds `photographs`, with tags, no masks and no split, and `new_photographs`, with
neither. One run of the page's commands serves all tests.
"""

from __future__ import annotations

import csv
import io
import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from test_engines import PATIENCE, Copy, Run

from rca.data.index import Index, read_index
from rca.sources.unpacking import contents

pytestmark = pytest.mark.pipeline

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs/tutorials/own_photographs.md"
SAMPLE = ROOT / "data/embedded/voc12_animals_sample.tar"
ANIMALS = {"cat", "dog", "cow"}
PHOTOGRAPHS, OTHERS = 24, 10
RESULTS = "results/own_folder"
NEW = "masks_of_new_photographs"


@pytest.fixture(scope="module")
def copy(tmp_path_factory) -> Copy:
    """A repository with its environment, and beside it the home that the page speaks of."""
    copy = Copy(tmp_path_factory.mktemp("preset") / "own_folder")
    (copy.root / ".venv").symlink_to(sys.prefix)
    home = copy.root.parent / "home"
    copy.environment["HOME"] = str(home)
    for name, content in photographs().items():
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        (home / name).write_bytes(content)
    return copy


@pytest.fixture(scope="module")
def run(copy) -> Run:
    """All commands of the page, in one shell that stops at the first that fails."""
    done = subprocess.run(
        ["bash", "-exc", commands()],
        cwd=copy.root,
        env=copy.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    return Run(done.returncode, done.stdout)


def commands() -> str:
    """What the page has its readers type, as it stands."""
    text = PAGE.read_text(encoding="utf-8")
    return "".join(re.findall(r"^```console\n(.*?)^```", text, re.MULTILINE | re.DOTALL))


@pytest.fixture(scope="module")
def index(copy, run) -> Index:
    assert run.status == 0, run.text
    return read_index(copy.root / RESULTS / "index")


def photographs() -> dict[str, bytes]:
    """Photographs of an animal each by their place at home, from the sample, and `tags.csv`."""
    ((_, table),) = contents(SAMPLE, lambda name: name == "tags.csv")
    tags = {
        row["image"]: row["tags"]
        for row in csv.DictReader(io.StringIO(table.decode()))
        if row["tags"] in ANIMALS
    }
    chosen = list(tags)[: PHOTOGRAPHS + OTHERS]
    own, new = chosen[:PHOTOGRAPHS], chosen[PHOTOGRAPHS:]
    assert len(new) == OTHERS and {tags[image] for image in own} == ANIMALS
    files = contents(
        SAMPLE, lambda name: name.startswith("JPEGImages/") and Path(name).stem in chosen
    )
    rows = "".join(f"{image}.jpg,{tags[image]}\n" for image in own)
    return {
        "photographs/tags.csv": f"image,tags\n{rows}".encode(),
        **{
            f"{'new_' if Path(name).stem in new else ''}photographs/{Path(name).name}": content
            for name, content in files
        },
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


def test_own_folder__tells_how_doubtful_each_mask_is_and_begins_with_the_most(copy, index):
    with (copy.root / RESULTS / "evaluate/doubt.csv").open(newline="") as file:
        doubts = {row["image"]: float(row["doubt"]) for row in csv.DictReader(file)}
    assert set(doubts) == {record.image for record in index.records}
    assert all(0 <= doubt <= 1 for doubt in doubts.values()) and len({*doubts.values()}) > 5
    page = (copy.root / RESULTS / "report/report.html").read_text()
    for split in ("val", "train"):
        images = [record.image for record in index.split(split)]
        shown = [image for image in re.findall(r'id="image-([^"]+)"', page) if image in images]
        assert shown == sorted(images, key=lambda image: (-doubts[image], image))


def test_own_folder__segments_other_photographs_without_tags(copy, index, run):
    photographs = sorted((copy.root.parent / "home/new_photographs").iterdir())
    assert len(photographs) == OTHERS
    masks = {path.stem: path for path in (copy.root / NEW / "masks").iterdir()}
    assert set(masks) == {path.stem for path in photographs}
    found = set()
    for photograph in photographs:
        mask = np.array(Image.open(masks[photograph.stem]))
        with Image.open(photograph) as image:
            assert mask.shape == image.size[::-1]
        found |= set(np.unique(mask).tolist())
    assert {0} < found <= {*range(len(ANIMALS) + 1)}
    with (copy.root / NEW / "predictions.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == OTHERS
    assert not {Path(row["photograph"]).stem for row in rows} & {
        record.image for record in index.records
    }


def test_own_folder__nothing_to_score_is_said(run):
    assert "Nothing is scored: the data set has no true masks." in run.text
