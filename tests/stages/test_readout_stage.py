"""Stage `readout` on three images of a few pixels, with an untrained network."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from tiny_results import CLASSES, TAGS, write_results

from rca.config import Aggregation, Backbone, Compute, ConfigError, Head, Readout, TrainCam
from rca.data.cam_store import CamStore
from rca.data.images import DataError
from rca.data.index import Index, read_index, write_index
from rca.models.cam_network import CamNetwork
from rca.models.weights import save_weights
from rca.readout import pixels as readout_pixels
from rca.runtime.state import WHOLE, Shard
from rca.stages import readout

CFG = Readout(
    method="prototypes",
    blocks=[13, 16],
    sizes=[32, 64],
    network_stride=16,
    prototypes=2,
    background_prototypes=2,
    rounds=2,
    shard_size=1,
)
COMPUTE = Compute(device="cpu", threads=1)


@pytest.fixture
def results(tmp_path: Path) -> Path:
    folder = write_results(tmp_path)
    backbone = Backbone(name="mobilenet_v2", stride=32, weights="none")
    cfg = TrainCam(backbone=backbone, head=Head(depth=0), rsa=Aggregation(enabled=False))
    torch.manual_seed(0)
    network = CamNetwork(len(CLASSES), cfg)
    save_weights(folder / "train_cam/weights.safetensors", network, CLASSES, cfg)
    return folder


def run(results: Path, out: str = "out", cfg: Readout = CFG, shard: Shard = WHOLE) -> Path:
    readout.run(
        cfg,
        COMPUTE,
        0,
        index=results / "index",
        weights=results / "train_cam/weights.safetensors",
        cams=results / "infer_cam",
        out=results / out,
        state=results / "state",
        shard=shard,
    )
    return results / out


def content(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_run__writes_posteriors_of_the_cam_store_s_classes(results):
    out = run(results)
    for split, images in (("train", "ab"), ("val", "v")):
        store = CamStore(out / split)
        assert sorted(store) == list(images)
        for image in images:
            classes, maps = store.read(image)
            assert [CLASSES[label] for label in classes] == sorted(TAGS[image])
            assert (maps >= 0).all() and (maps.sum(axis=0) <= 1 + 1e-4).all()
            assert maps.std() > 0
    fitted = load_file(out / "prototypes.safetensors")
    assert fitted["valid"].any(dim=1).tolist() == [True, True, True]


def test_run__names_the_pixels_nearest_to_each_prototype(results):
    listed = json.loads((run(results) / "nearest.json").read_text())
    valid = load_file(results / "out/prototypes.safetensors")["valid"]
    assert len(listed) == valid.sum()
    for prototype in listed:
        tagged = [image for image in "ab" if prototype["label"] in ("background", *TAGS[image])]
        assert {pixel["image"] for pixel in prototype["pixels"]} <= set(tagged)
        assert all(0 < pixel[axis] < 1 for pixel in prototype["pixels"] for axis in "xy")


def test_run__shards_and_a_second_run_give_the_same_bytes(results):
    whole = content(run(results))
    assert content(run(results, "again")) == whole
    for number in (2, 1):
        run(results, "shared", shard=Shard(number, 2))
        assert not (results / "shared").exists()
    assert content(run(results, "shared")) == whole


def test_run__killed_midway_resumes_without_reading_features_again(results, monkeypatch):
    whole = content(run(results))
    read_out = readout._read_out
    done = []

    def dies(reader, records, *others):
        if records[0].split == "val":
            raise KeyboardInterrupt
        done.append(records[0].image)
        return read_out(reader, records, *others)

    with monkeypatch.context() as patch:
        patch.setattr(readout, "_read_out", dies)
        with pytest.raises(KeyboardInterrupt):
            run(results, "resumed")
    assert done == ["a", "b"] and not (results / "resumed").exists()
    features, read = readout_pixels.Reader.features, []
    monkeypatch.setattr(
        readout_pixels.Reader,
        "features",
        lambda self, record: read.append(record.image) or features(self, record),
    )
    assert content(run(results, "resumed")) == whole
    assert read == ["v"]


def test_run__with_little_memory_samples_the_pixels_of_each_image(results, monkeypatch):
    monkeypatch.setattr(readout_pixels, "pixels_an_image", lambda *_: 3)
    gathered = []
    gather = readout_pixels.gather_pixels
    monkeypatch.setattr(
        readout, "gather_pixels", lambda *given: gathered.append(gather(*given)) or gathered[0]
    )
    out = run(results)
    assert gathered[0].pixels.image.bincount().tolist() == [3, 3]
    assert CamStore(out / "train").read("a")[1].shape == (1, 4, 8)


@pytest.mark.parametrize(("images", "pixels"), [(1, 976), (10, 97), (10**6, 1)])
def test_pixels_an_image__fit_into_the_memory(images, pixels):
    cfg = CFG.model_copy(update={"memory_mb": 1})
    assert readout_pixels.pixels_an_image(cfg, [512], images) == pixels


def test_run__images_without_tags_teach_nothing(results):
    whole = load_file(run(results) / "prototypes.safetensors")
    data = read_index(results / "index")
    rng = np.random.default_rng(0)
    file = data.root / "images/u.png"
    Image.fromarray(rng.integers(0, 256, (2, 4, 3), np.uint8)).save(file)
    first = data.records[0]
    extra = type(first)("u", "train", file, None, None, 4, 2, ())
    train = (*data.split("train"), extra)
    write_index(results / "index", Index(**{**vars(data), "records": (*train, *data.split("val"))}))
    from rca.data.cam_store import CamShard

    shard = CamShard(16)
    shard.add("u", np.zeros(0, np.int64), np.zeros((0, 2, 4)))
    shard.write(results / "infer_cam/train/cams-00001.safetensors")
    found = load_file(run(results, "more") / "prototypes.safetensors")
    assert torch.equal(found["prototypes"], whole["prototypes"])
    assert CamStore(results / "more/train").read("u")[1].shape[0] == 0


def test_run__method_cams_passes_the_stores_through(results):
    assert content(run(results, cfg=Readout())) == content(results / "infer_cam")


def test_run__a_block_that_is_not_there_is_named(results):
    cfg = CFG.model_copy(update={"blocks": [99]})
    with pytest.raises(ConfigError, match=r"readout\.blocks: 99, but the last block .* is 18"):
        run(results, cfg=cfg)


def test_run__saliency_without_maps_is_refused(results):
    cfg = CFG.model_copy(update={"saliency": True})
    with pytest.raises(DataError, match=r"no saliency map \(a, b\).*readout\.saliency: false"):
        run(results, cfg=cfg)


def test_run__saliency_moves_the_posterior(results):
    data = read_index(results / "index")
    records = []
    for record in data.records:
        file = data.root / f"saliency/{record.image}.png"
        file.parent.mkdir(exist_ok=True)
        # All of `a` is salient, nothing of `b`.
        values = np.full((record.height, record.width), 255 * (record.image == "a"), np.uint8)
        Image.fromarray(values).save(file)
        records.append(type(record)(**{**vars(record), "saliency": file}))
    write_index(results / "index", Index(**{**vars(data), "records": tuple(records)}))
    once = CFG.model_copy(update={"rounds": 1})
    plain, salient = (
        CamStore(run(results, out, once.model_copy(update={"saliency": used})) / "train")
        for out, used in (("plain", False), ("salient", True))
    )
    assert (salient.read("a")[1] >= plain.read("a")[1]).all()
    assert (salient.read("b")[1] <= plain.read("b")[1]).all()
    assert salient.read("b")[1].sum() < plain.read("b")[1].sum()
