"""What stage `readout` writes, recomputed by hand; what it computes again, and how much it keeps.

The network is small and learnt nothing. More of the stage is in test_readout_stage.py.
"""

from __future__ import annotations

import logging
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from label_data import HEIGHT, WIDTH, LabelData
from PIL import Image
from safetensors.torch import load_file

from rca.config import Backbone, Compute, Head, Readout, TrainCam
from rca.data.cam_store import CamShard, CamStore
from rca.data.index import read_index
from rca.labels.scores import upsample_cams
from rca.models.cam_network import CamNetwork
from rca.models.weights import save_weights
from rca.readout import pixels as readout_pixels
from rca.readout.sample import ImageSample, write_sample
from rca.runtime.state import WHOLE, Shard
from rca.stages import readout

pytestmark = pytest.mark.slow  # recomputes whole runs

CLASSES = ("cat", "dog", "cow")
TRAIN = {"one": ("cat",), "both": ("cat", "dog"), "two": ("dog",), "none": ()}
VAL = {"unseen": ("dog",), "empty": ("cat",)}
NETWORK = TrainCam(
    backbone=Backbone(name="mobilenet_v2", stride=16, weights="none", blocks=6), head=Head(depth=0)
)
COMPUTE = Compute(device="cpu", threads=1)
CFG = Readout(
    method="prototypes",
    blocks=[2, 5],
    sizes=[32, 64],
    prototypes=2,
    background_prototypes=3,
    rounds=3,
    level=0.5,
    restarts=2,
    shard_size=2,
)
WIDTH_OF_PIXEL = 2 * (24 + 32)  # channels of the blocks at both sizes
GRID = (8, 12)  # of the largest size, at stride 8
STORES = [
    "train/cams-00000.safetensors",
    "train/cams-00001.safetensors",
    "val/cams-00000.safetensors",
]
ROUNDED = len(CLASSES) / 2 / (2**16 - 1)  # what rounding to 16 bits may add to a sum


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> Path:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("network") / "weights.safetensors"
    save_weights(path, CamNetwork(len(CLASSES), NETWORK), CLASSES, NETWORK)
    return path


@pytest.fixture
def data(tmp_path, monkeypatch) -> LabelData:
    """`none` has no tag, `empty` is an image in which the network found nothing."""
    monkeypatch.setattr("label_data.CLASSES", CLASSES)
    (tmp_path / "data").mkdir()
    data = LabelData(tmp_path / "data")
    for split, images in (("train", TRAIN), ("val", VAL)):
        for image, tags in images.items():
            data.add(image, split, tags)
    data.stored["empty"] = []
    cams_of, empty = data.cams_of, np.zeros((0, 4, 6), np.float32)
    data.cams_of = lambda image: cams_of(image) if data.stored[image] else empty
    return data.write()


@pytest.fixture
def run(data, weights):
    """Run the stage with changes of its section, to a folder beside the data."""

    def run(out: str = "out", *, seed: int = 0, shard: Shard = WHOLE, **changes) -> Path:
        readout.run(
            Readout.model_validate({**CFG.model_dump(), **changes}),
            COMPUTE,
            seed,
            index=data.index,
            weights=weights,
            cams=data.cams,
            out=data.root / out,
            state=data.root / "state",
            shard=shard,
        )
        return data.root / out

    return run


@pytest.fixture
def computed(monkeypatch) -> Counter[str]:
    """How often the features of each image were computed."""
    counter: Counter[str] = Counter()
    features = readout_pixels.Reader.features

    def count(reader, record):
        counter[record.image] += 1
        return features(reader, record)

    monkeypatch.setattr(readout_pixels.Reader, "features", count)
    return counter


@pytest.fixture
def sampled(monkeypatch) -> dict[str, ImageSample]:
    """The samples that were written."""
    written: dict[str, ImageSample] = {}

    def write(path, samples):
        written.update(samples)
        write_sample(path, samples)

    monkeypatch.setattr(readout_pixels, "write_sample", write)
    return written


def files_of(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def posteriors(out: Path, image: str) -> np.ndarray:
    return CamStore(out / ("train" if image in TRAIN else "val")).read(image)[1]


def test_run__writes_posteriors_of_the_classes_of_the_cam_store(data, run):
    out = run()
    assert sorted(files_of(out)) == ["nearest.json", "prototypes.safetensors", *STORES]
    for split, images in (("train", TRAIN), ("val", VAL)):
        store, cams = CamStore(out / split), CamStore(data.cams / split)
        assert set(store) == set(cams) == set(images)
        for image in images:
            classes, maps = store.read(image)
            assert classes.tolist() == cams.read(image)[0].tolist() == data.stored[image]
            assert maps.shape == (len(classes), *GRID)
            assert maps.min(initial=0) >= 0 and maps.max(initial=0) <= 1
            assert maps.sum(axis=0).max() <= 1 + ROUNDED
    assert {image for image in [*TRAIN, *VAL] if not data.stored[image]} == {"none", "empty"}
    assert np.ptp(posteriors(out, "both")) > 0.1  # they say something


def test_run__is_the_mixture_of_the_prototypes_that_it_writes(data, run, weights):
    """By hand at every pixel: features on one grid, centred, blocks and all of length 1."""
    out = run()
    fitted = {
        key: value.numpy() for key, value in load_file(out / "prototypes.safetensors").items()
    }
    assert fitted["prototypes"].shape == (4, 3, WIDTH_OF_PIXEL)
    assert fitted["valid"].sum(axis=1).tolist() == [3, 2, 2, 0]  # no image is tagged cow
    reader = readout_pixels.make_reader(
        CFG, read_index(data.index), weights, data.cams, torch.device("cpu")
    )
    for record in read_index(data.index).records:
        features = reader.features(record).float().numpy() - fitted["means"]
        blocks = np.split(features, np.cumsum(reader.widths)[:-1], axis=-1)
        blocks = [block / np.linalg.norm(block, axis=-1, keepdims=True) for block in blocks]
        x = np.concatenate(blocks, axis=-1)
        x /= np.linalg.norm(x, axis=-1, keepdims=True)
        likelihoods = {
            label: np.mean(
                [np.exp(x @ q / CFG.temperature) for q in fitted["prototypes"][label][valid]],
                axis=0,
            )
            for label, valid in enumerate(fitted["valid"])
            if valid.any()
        }
        total = CFG.background_weight * likelihoods[0]
        total = total + sum(likelihoods[label + 1] for label in data.stored[record.image])
        for label, found in zip(
            data.stored[record.image], posteriors(out, record.image), strict=True
        ):
            np.testing.assert_allclose(found, likelihoods[label + 1] / total, atol=2e-3)


def test_run__another_seed_draws_otherwise(run):
    assert files_of(run("first")) != files_of(run("second", seed=1))


def test_run__shards_compute_the_training_features_once_and_the_stage_does_the_rest(run, computed):
    undisturbed = files_of(run("undisturbed"))
    assert computed == dict.fromkeys([*TRAIN, *VAL], 1)
    computed.clear()
    for number, images in ((2, ["two", "none"]), (1, ["one", "both"])):
        assert not run("shared", shard=Shard(number, 2)).exists()
        assert computed == dict.fromkeys(images, 1)
        computed.clear()
    assert files_of(run("shared")) == undisturbed
    assert computed == dict.fromkeys(VAL, 1)


def test_run__killed_while_sampling_goes_on_where_it_was(data, run, computed, monkeypatch):
    undisturbed = files_of(run("undisturbed"))
    computed.clear()

    def write(path, samples):
        if "two" in samples:
            raise KeyboardInterrupt
        write_sample(path, samples)

    with monkeypatch.context() as patch:
        patch.setattr(readout_pixels, "write_sample", write)
        with pytest.raises(KeyboardInterrupt):
            run("killed")
    assert not (data.root / "killed").exists() and computed["one"] == 1
    computed.clear()
    assert files_of(run("killed")) == undisturbed
    assert computed == dict.fromkeys(["two", "none", *VAL], 1)
    assert not list((data.root / "state/readout").iterdir())


@pytest.mark.parametrize("spoiled", [False, True], ids=["whole", "truncated"])
def test_run__killed_while_reading_goes_on_where_it_was(
    data, run, computed, monkeypatch, caplog, spoiled
):
    caplog.set_level(logging.INFO)
    undisturbed = files_of(run("undisturbed"))
    fits = []
    fit, write = readout.fit_readout, CamShard.write

    def interrupt(shard, path):
        if path.parent.name == "val":
            raise KeyboardInterrupt
        write(shard, path)

    monkeypatch.setattr(readout, "fit_readout", lambda *given: fits.append(1) or fit(*given))
    with monkeypatch.context() as patch:
        patch.setattr(CamShard, "write", interrupt)
        with pytest.raises(KeyboardInterrupt):
            run("killed")
    assert not (data.root / "killed").exists() and fits == [1]
    (state,) = (data.root / "state/readout").iterdir()
    if spoiled:
        (state / STORES[0]).write_bytes((state / STORES[0]).read_bytes()[:-1])
        (state / "sample/00001.safetensors").unlink()
    computed.clear()
    caplog.clear()
    assert files_of(run("killed")) == undisturbed
    assert fits == [1]
    assert computed == dict.fromkeys([*(["two", "none"] if spoiled else []), *VAL], 1)
    assert (f"{STORES[0]} was already done" in caplog.text) == (not spoiled)
    assert f"{STORES[1]} was already done" in caplog.text


def test_run__fits_to_as_many_pixels_as_the_memory_holds(run, sampled, computed):
    """At 320 px a grid has 40 × 60 pixels; a megabyte holds 1,116 of each of the four images."""
    changes = {"sizes": [64, 320], "memory_mb": 1}
    out = run("bounded", **changes)
    budget = 10**6 // (2 * WIDTH_OF_PIXEL)
    counts = {image: len(sample.places) for image, sample in sampled.items()}
    # Of an image without a tag nothing can be learnt.
    assert counts == {**dict.fromkeys(TRAIN, budget // len(TRAIN)), "none": 0}
    assert sum(sample.features.nbytes for sample in sampled.values()) <= 10**6
    assert not any(sample.whole for sample in sampled.values())
    # Once for the posterior, too, where there is one.
    assert computed == {**dict.fromkeys(TRAIN, 2), **dict.fromkeys(VAL, 1), "none": 1}
    for image in [*TRAIN, *VAL]:
        assert posteriors(out, image).shape[1:] == (40, 60)
        assert posteriors(out, image).sum(axis=0).max() <= 1 + ROUNDED
    assert files_of(run("again", **changes)) == files_of(out)
    assert files_of(run("other", seed=1, **changes)) != files_of(out)
    whole = run("whole", **{**changes, "memory_mb": 100})
    # The prototypes hardly notice what was left out.
    assert np.abs(posteriors(whole, "unseen") - posteriors(out, "unseen")).mean() < 0.2


@pytest.mark.parametrize("trust", [0.0, 0.6, 0.9])
def test_run__saliency_multiplies_the_odds_of_the_foreground(data, run, trust):
    """In one round the prototypes come from the CAMs alone; the odds change by s / (1 - s)."""
    grey = {"one": 0, "both": 51, "two": 255, "none": 128}
    for image, value in grey.items():
        Image.new("L", (WIDTH, HEIGHT), value).save(data.root / f"{image}-saliency.png")
    without = run("without", rounds=1)
    out = run("with", rounds=1, saliency=True, saliency_trust=trust)
    prototypes = [(folder / "prototypes.safetensors").read_bytes() for folder in (without, out)]
    assert prototypes[0] == prototypes[1]
    for image, value in grey.items():
        s = value / 255 * trust + (1 - trust) / 2
        before, after = posteriors(without, image), posteriors(out, image)
        classes = before.sum(axis=0)
        expected = before * s / (classes * s + (1 - classes) * (1 - s))
        np.testing.assert_allclose(after, expected, atol=5e-4)
    for image in VAL:  # of validation images no map is read
        assert (posteriors(without, image) == posteriors(out, image)).all()


def test_run__fits_to_what_lies_under_the_sampled_pixels(data, run, sampled, monkeypatch):
    given = []
    fit = readout.fit_readout
    monkeypatch.setattr(readout, "fit_readout", lambda *args: given.append(args[0]) or fit(*args))
    run(sizes=[320], memory_mb=1, saliency=True, saliency_trust=0.8)
    (pixels,) = given
    assert pixels.tags.int().tolist() == [[1, 0, 0], [1, 1, 0], [0, 1, 0], [0, 0, 0]]
    assert (pixels.directions.float().norm(dim=1) - 1).abs().max() < 1e-3
    for number, (image, sample) in enumerate(sampled.items()):
        own, places = pixels.image == number, sample.places.numpy()
        assert int(own.sum()) == len(places) and (image == "none" or 0 < len(places) < 40 * 60)
        saliency = np.asarray(Image.open(data.root / f"{image}-saliency.png"), np.float32) / 255
        prior = upsample_cams(saliency[None], 40, 60).flatten()[places] * 0.8 + 0.1
        np.testing.assert_allclose(pixels.foreground[own].numpy(), prior, atol=1e-3)
        classes, cams = CamStore(data.cams / "train").read(image)
        expected = np.zeros((len(places), len(CLASSES)), np.float32)
        expected[:, classes] = upsample_cams(cams, 40, 60).reshape(len(classes), 2400)[:, places].T
        np.testing.assert_allclose(pixels.cams[own].float().numpy(), expected, atol=1e-3)


def test_run__no_blocks_are_the_last_one_and_their_order_does_not_matter(run):
    last = load_file(run("last", blocks=None, sizes=[64]) / "prototypes.safetensors")
    assert last["means"].shape == (32,)
    assert files_of(run("up", blocks=[2, 5])) == files_of(run("down", blocks=[5, 2]))
