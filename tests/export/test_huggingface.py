"""The folder for the Hugging Face Hub: the same network, and a card that invents nothing."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml
from tiny_results import evaluate_results, tiny_params, write_results

import rca
from rca.config import ConfigError
from rca.export import formats


@pytest.fixture
def results(weights, tmp_path) -> Path:
    """Evaluated results whose network of pseudo-labels is `weights`."""
    folder = write_results(tmp_path)
    evaluate_results(folder, tiny_params())
    shutil.copyfile(weights, folder / "train_seg/pseudo/weights.safetensors")
    return folder


def hub(weights: Path, out: Path, **options) -> Path:
    formats.export(weights, out=out, form="huggingface", photographs=Path("none"), **options)
    return out


def header_of(card: str) -> dict:
    return yaml.safe_load(card.split("---")[1])


def test_folder__is_loaded_and_gives_the_same_mask(results, tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (70, 90, 3), np.uint8)
    original = rca.load(results)

    copy = rca.load(hub(results, tmp_path / "hub"))

    assert copy.settings == original.settings
    np.testing.assert_array_equal(copy.predict(pixels).mask, original.predict(pixels).mask)


def test_folder__says_how_to_prepare_an_image_and_what_the_labels_are(results, tmp_path):
    out = hub(results, tmp_path / "hub")

    config = json.loads((out / "config.json").read_text())
    assert config["id2label"] == {"0": "background", "1": "cat", "2": "dog"}
    assert config["training"]["backbone"]["name"] == "mobilenet_v2"
    preprocessor = json.loads((out / "preprocessor_config.json").read_text())
    assert preprocessor["size"] == {"shortest_edge": tiny_params().infer_seg.size}
    assert preprocessor["image_std"] == [0.229, 0.224, 0.225]


def test_card__has_the_runs_scores_signals_and_protocol(results, tmp_path):
    metrics = json.loads((results / "evaluate/metrics.json").read_text())
    score = metrics["products"]["network_val"]

    out = hub(results, tmp_path / "hub", results=results, licence="CC-BY-NC-4.0")

    card = (out / "README.md").read_text()
    low, high = score["miou_interval"]
    assert f"| **mean** | **{score['miou']:.1f}** | {low:.1f} to {high:.1f} |" in card
    for label in ("background", "cat", "dog"):
        assert f"| {label} | " in card
    assert f"| Signals used | {', '.join(metrics['protocol']['signals'])} |" in card
    assert "mIoU is the mean over 3 classes" in card
    assert "| Training images | 2 |" in card and "image tags" in card
    header = header_of(card)
    assert header["license"] == "cc-by-nc-4.0"
    assert header["model-index"][0]["results"][0]["metrics"][0]["value"] == score["miou"]


def test_card__of_a_network_from_true_masks_says_so(weights, results, tmp_path):
    truth = results / "train_seg/truth/weights.safetensors"
    shutil.move(results / "train_seg/pseudo/weights.safetensors", truth)

    card = (hub(truth, tmp_path / "hub", results=results) / "README.md").read_text()

    assert "| Signals used | true masks, " in card
    assert "image tags, " not in card and "weakly-supervised" not in card


def test_card__without_results_says_that_it_knows_nothing(weights, tmp_path):
    card = (hub(weights, tmp_path / "hub") / "README.md").read_text()

    for title in ("Data set", "Source of the tags", "Signals used", "Pretrained"):
        assert f"| {title} | unknown |" in card
    assert "licence of the weights is **unknown**" in card
    assert "How good it is was not measured" in card
    assert "license" not in header_of(card) and "model-index" not in header_of(card)


def test_card__is_not_made_from_the_scores_of_another_network(weights, results, tmp_path):
    with (results / "train_seg/pseudo/weights.safetensors").open("ab") as file:
        file.write(b"\0")

    with pytest.raises(ConfigError, match="is not a network of"):
        hub(weights, tmp_path / "hub", results=results)
    assert not (tmp_path / "hub").exists()
