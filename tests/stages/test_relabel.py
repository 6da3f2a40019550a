"""Self-training: what a network makes of the training images of tests/stages/tiny_results.py."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_results import CLASSES, evaluate_results, tiny_params, write_results

from rca.config import Backbone, Compute, Crf, InferSeg, Params, TrainSeg
from rca.data.images import read_image, read_mask
from rca.data.index import read_training_index
from rca.inference import network_labels
from rca.inference.probabilities import class_probabilities
from rca.models.deeplab import DeepLab
from rca.models.inference import for_inference
from rca.models.weights import load_network, save_weights
from rca.runtime.state import Shard
from rca.stages import relabel

COMPUTE = Compute(device="cpu", threads=1)
TRAINED = TrainSeg(backbone=Backbone(name="mobilenet_v2", stride=32, weights="none"))
ASKED = InferSeg(size=32, scales=[1.0, 1.5], flip=True)
PLAIN = Crf(method="none", processes=1)


@pytest.fixture
def results(tmp_path) -> Path:
    """The tiny results, with a network of random weights."""
    results = write_results(tmp_path)
    torch.manual_seed(0)
    network = DeepLab(len(CLASSES), TRAINED).eval()
    save_weights(results / "weights.safetensors", network, CLASSES, TRAINED)
    return results


def labelled(results: Path, crf: Crf = PLAIN, shard: Shard | None = None) -> dict[str, np.ndarray]:
    out = results / "relabel/round_1"
    relabel.run(
        ASKED,
        crf,
        COMPUTE,
        index=results / "index",
        weights=results / "weights.safetensors",
        out=out,
        state=results / "state",
        **({"shard": shard} if shard else {}),
    )
    return {path.stem: read_mask(path) for path in out.glob("*.png")}


def test_relabel__takes_the_likeliest_of_background_and_tags(results, monkeypatch):
    # For the 0-based tag of each image; the other class is likelier still, and must not be taken.
    probabilities = {
        "a": np.array([[[0.3] * 4, [0.1] * 4], [[0.1] * 4, [0.2] * 4], [[0.6] * 4, [0.7] * 4]]),
        "b": np.array([[[0.1, 0.2, 0.3, 0.4]], [[0.8, 0.5, 0.6, 0.5]], [[0.2, 0.1, 0.4, 0.1]]]),
    }

    of_size = {made.shape[1:]: made for made in probabilities.values()}
    monkeypatch.setattr(
        network_labels,
        "class_probabilities",
        lambda _, image, *__: of_size[image.height, image.width],
    )

    made = labelled(results)

    assert made["a"].tolist() == [[0] * 4, [1] * 4]
    assert made["b"].tolist() == [[2, 0, 2, 0]]


def test_relabel__asks_the_network_as_infer_seg_does(results):
    made = labelled(results)

    data = read_training_index(results / "index")
    trained = load_network(results / "weights.safetensors", DeepLab, TrainSeg, data.classes)
    network = for_inference(trained, torch.device("cpu"))
    assert set(made) == {"a", "b"}
    for record in data.split("train"):
        label = data.classes.index(record.tags[0]) + 1
        image = read_image(record.file)
        probabilities = class_probabilities(network, image, ASKED, torch.device("cpu"))
        expected = np.where(probabilities[label] > probabilities[0], label, 0)
        np.testing.assert_array_equal(made[record.image], expected)


def test_relabel__refines_by_the_crf(results):
    wide = Crf(processes=1, gaussian_sxy=50, gaussian_compat=100, bilateral_compat=0.001)
    pixels = {image: np.unique(labels).size for image, labels in labelled(results, wide).items()}

    assert pixels == {"a": 1, "b": 1}  # such a kernel leaves no two labels side by side


def test_relabel__shares_write_the_same_bytes(results):
    whole = labelled(results)
    out = results / "relabel/round_1"
    content = {path.name: path.read_bytes() for path in out.iterdir()}
    out.rename(results / "whole")

    assert labelled(results, shard=Shard(1, 2)) == {} == labelled(results, shard=Shard(2, 2))
    again = labelled(results)

    assert again.keys() == whole.keys()
    assert {path.name: path.read_bytes() for path in out.iterdir()} == content


def test_relabel__merges_shards_of_a_gpu_without_a_gpu_or_the_network(results, monkeypatch):
    whole = labelled(results)
    (results / "relabel/round_1").rename(results / "whole")
    monkeypatch.setattr(network_labels, "kinds", lambda _: ["cuda"])
    assert labelled(results, shard=Shard(1, 2)) == {} == labelled(results, shard=Shard(2, 2))
    monkeypatch.setattr(network_labels, "kinds", lambda _: ["cpu", "cuda"])
    monkeypatch.setattr(network_labels, "load_network", lambda *_: pytest.fail("was computed"))

    merged = labelled(results)

    assert merged.keys() == whole.keys()
    assert all((merged[image] == labels).all() for image, labels in whole.items())
    assert not list((results / "state/relabel").iterdir())


def test_relabel__computes_where_a_share_is_missing(results, monkeypatch):
    whole = labelled(results)
    (results / "relabel/round_1").rename(results / "whole")
    monkeypatch.setattr(network_labels, "kinds", lambda _: ["cpu", "cuda"])
    assert labelled(results, shard=Shard(1, 2)) == {}

    made = labelled(results)

    assert all((made[image] == labels).all() for image, labels in whole.items())


def test_evaluate__scores_labels_and_network_of_a_round(results):
    labelled(results)
    predictions = results / "infer_seg"
    (predictions / "round_1").mkdir()
    (predictions / "round_1/v.png").write_bytes((predictions / "truth/v.png").read_bytes())
    values = tiny_params().model_dump(mode="json")
    values["train_seg"]["supervisions"]["round_1"] = "relabel/round_1"
    values["relabel"]["teachers"] = {"round_1": "pseudo"}
    folder = evaluate_results(results, Params.model_validate(values))
    metrics = json.loads((folder / "metrics.json").read_text())

    assert {"round_1_train", "round_1_val"} < set(metrics["products"])
    assert metrics["miou"]["round_1_val"] == metrics["miou"]["fully_supervised_val"]
    assert metrics["protocol"]["self_training"] == {"round_1": "pseudo"}
