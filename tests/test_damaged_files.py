"""Files that stages read, damaged: one error that names the file, and nothing is trusted."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from rca.config import ConfigError, TrainSeg, load
from rca.data.cam_store import CamShard, CamStore
from rca.data.images import DataError, read_mask, write_label_map
from rca.data.index import read_index
from rca.data.palette import voc_palette
from rca.models.deeplab import DeepLab
from rca.models.weights import load_network, save_weights
from rca.presentation.result_files import (
    read_doubts,
    read_image_table,
    read_json,
    read_numbers,
    read_table,
)
from rca.tracking import store
from rca.tracking.machine import note, noted
from rca.tracking.provenance import data_digest
from rca.tracking.record import Record
from rca.tracking.times import NOTES, pipeline_span, timed

ROOT = Path(__file__).parents[1]


def flip(file: Path, place: int) -> None:
    """Flip a bit; negative places count from the end."""
    content = bytearray(file.read_bytes())
    content[place] ^= 4
    file.write_bytes(content)


@pytest.fixture
def weights(tmp_path) -> Path:
    params = load(ROOT / "configs/debug.yaml")
    backbone = params.train_seg.backbone.model_copy(update={"weights": "none", "blocks": 3})
    cfg = params.train_seg.model_copy(update={"backbone": backbone})
    file = tmp_path / "weights.safetensors"
    with torch.random.fork_rng():
        torch.manual_seed(0)
        save_weights(file, DeepLab(1, cfg), ["cat"], cfg)
    return file


def test_weights__are_held_against_their_checksum(weights):
    assert load_network(weights, DeepLab, TrainSeg, ["cat"])
    for place in (-1, -5000):
        flip(weights, place)
        with pytest.raises(ConfigError, match=r"weights\.safetensors: damaged"):
            load_network(weights, DeepLab, TrainSeg, ["cat"])
        flip(weights, place)


def test_weights__what_they_say_is_held_against_it_too(weights):
    content = weights.read_bytes()
    assert content.count(b'momentum\\": 0.9') == 1
    weights.write_bytes(content.replace(b'momentum\\": 0.9', b'momentum\\": 0.8'))

    with pytest.raises(ConfigError, match="damaged"):
        load_network(weights, DeepLab, TrainSeg, ["cat"])


@pytest.mark.parametrize("length", [0, 4, 100, 2000])
def test_weights__cut_short(weights, length):
    weights.write_bytes(weights.read_bytes()[:length])

    with pytest.raises(ConfigError, match="no usable weights"):
        load_network(weights, DeepLab, TrainSeg, ["cat"])


@pytest.fixture
def class_maps(tmp_path) -> Path:
    shard = CamShard(8)
    shard.add("a", np.array([0]), np.linspace(0, 1, 12).reshape(1, 3, 4))
    shard.add("none", np.array([], int), np.empty((0, 3, 4)))
    shard.write(tmp_path / "cams-00000.safetensors")
    return tmp_path / "cams-00000.safetensors"


def test_class_maps__are_held_against_their_checksums(class_maps):
    assert CamStore(class_maps).read("none")[1].shape == (0, 3, 4)
    flip(class_maps, -1)

    with pytest.raises(DataError, match=r"cams-00000\.safetensors: damaged .* again"):
        CamStore(class_maps).read("a")


@pytest.mark.parametrize("length", [0, 5, 60])
def test_class_maps__cut_short(class_maps, length):
    class_maps.write_bytes(class_maps.read_bytes()[:length])

    with pytest.raises(DataError, match="damaged"):
        CamStore(class_maps.parent)


def test_masks__are_held_against_the_checksums_of_png(tmp_path):
    file = tmp_path / "mask.png"
    labels = np.random.default_rng(0).integers(0, 3, (40, 50)).astype(np.uint8)
    write_label_map(file, labels, voc_palette())
    content = file.read_bytes()
    for place in range(content.index(b"IDAT"), content.index(b"IEND") - 4):
        flip(file, place)
        with pytest.raises(DataError, match=r"mask\.png: cannot be decoded"):
            read_mask(file)
        flip(file, place)
    assert (read_mask(file) == labels).all()


def test_photographs__of_other_formats_are_read_as_before(tmp_path):
    Image.new("L", (5, 4), 3).save(tmp_path / "mask.gif")
    assert read_mask(tmp_path / "mask.gif").shape == (4, 5)


INDEX = {
    "root": "d",
    "classes": ["cat"],
    "mask_values": [0] * 256,
    "palette": [[0, 0, 0]] * 256,
    "source": None,
}
ROWS = "image,split,file,mask,saliency,width,height,tags\na,train,a.jpg,,,4,3,cat\n"


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("dataset.json", b""),
        ("dataset.json", b"{"),
        ("dataset.json", b"[]"),
        ("dataset.json", b'{"root": "d"}'),
        ("dataset.json", json.dumps({**INDEX, "mask_values": [999]}).encode()),
        ("dataset.json", b"\xff\xfe\x00"),
        ("index.csv", b"\xff\xfe\x00"),
        ("index.csv", b"image,split\na,train\n"),
        ("index.csv", ROWS.replace("4,3", "4,x").encode()),
        ("index.csv", ROWS.removesuffix(",4,3,cat\n").encode()),
    ],
)
def test_index(tmp_path, name, content):
    (tmp_path / "dataset.json").write_text(json.dumps(INDEX))
    (tmp_path / "index.csv").write_text(ROWS)
    assert len(read_index(tmp_path).records) == 1
    (tmp_path / name).write_bytes(content)

    with pytest.raises(DataError, match=r"damaged .* run `rca index` again"):
        read_index(tmp_path)


@pytest.mark.parametrize("content", [b"\xff\xfe", b"epoch,loss\n1,2,3\n", b"epoch,loss\n1\n"])
def test_tables(tmp_path, content):
    file = tmp_path / "train_seg/pseudo/history.csv"
    file.parent.mkdir(parents=True)
    file.write_bytes(content)

    with pytest.raises(DataError, match=r"history\.csv: damaged .* run `rca train-seg` again"):
        read_table(file)


def test_tables__of_numbers(tmp_path):
    (tmp_path / "sweep.csv").write_text("threshold,miou\n0.5,x\n")

    with pytest.raises(DataError, match=r"sweep\.csv: damaged"):
        read_numbers(tmp_path / "sweep.csv")


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ("<!DOCTYPE html>\n", "no column image"),
        ("image,doubt\na,0.5\n", "no row for b"),
        ("image,doubt\na,0.5\nb,x\n", "could not convert"),
    ],
)
def test_doubts(tmp_path, content, why):
    file = tmp_path / "evaluate/doubt.csv"
    file.parent.mkdir()
    file.write_text(content)

    with pytest.raises(DataError, match=rf"doubt\.csv: damaged \({why}.* run `rca evaluate` again"):
        read_doubts(tmp_path, "ab")


@pytest.mark.parametrize("content", ["<!DOCTYPE html>\n", "image,split,iou_dog\na,train,0.5\n"])
def test_image_table__without_a_class(tmp_path, content):
    file = tmp_path / "evaluate/per_image.csv"
    file.parent.mkdir()
    file.write_text(content)

    with pytest.raises(DataError, match=r"per_image\.csv: damaged \(no column"):
        read_image_table(tmp_path, ["dog", "cat"])


@pytest.mark.parametrize("content", [b"{", b"\xff\xfe"])
def test_json(tmp_path, content):
    file = tmp_path / "evaluate/confusion.json"
    file.parent.mkdir()
    file.write_bytes(content)

    with pytest.raises(DataError, match=r"confusion\.json: .* run `rca evaluate` again"):
        read_json(file)


def test_params__that_are_no_text(tmp_path):
    (tmp_path / "params.yaml").write_bytes(b"\xff\xfe\x00")

    with pytest.raises(ConfigError, match="not valid YAML"):
        load(tmp_path / "params.yaml")


def test_notes__that_are_damaged_count_as_none(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with timed(tmp_path / "results/a"):
        pass
    for file in NOTES.rglob("*.json"):
        file.write_text("{")
    product = tmp_path / "product"
    product.touch()
    note(product, {"processor": "x"}, tmp_path)
    for file in tmp_path.rglob("machines/*.json"):
        file.write_text("{")

    assert pipeline_span(tmp_path / "results") is None
    assert noted(product, tmp_path) == {}


@pytest.mark.parametrize(
    "content", [b"stages: [", b"[]", b"", b"\xff\xfe", b"stages: {evaluate: 3}"]
)
def test_locks__that_are_damaged_name_no_data(tmp_path, monkeypatch, content):
    monkeypatch.chdir(tmp_path)
    Path("dvc.lock").write_bytes(content)
    Path("results/evaluate").mkdir(parents=True)
    Path("results/evaluate/metrics.json").touch()

    assert data_digest(Path("results"), Path("data/d")) is None


@pytest.mark.parametrize("content", [b"noise" * 2000, b"SQLite format 3\0" + b"\x07" * 5000])
def test_mlflow_store__that_is_damaged_is_refused_in_a_line(tmp_path, content):
    (tmp_path / "mlflow.db").write_bytes(content)
    record = Record(params={}, params_file="", metrics={}, curves={}, files=())

    with pytest.raises(ConfigError, match=r"mlflow\.db: MLflow cannot use this database") as error:
        store.save(record, uri="sqlite:///mlflow.db", run_name="a", home=tmp_path)

    assert "\n" not in str(error.value)
