"""ONNX files as weights: `rca.load` and `rca predict` run them with ONNX Runtime."""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

import rca
from rca import cli
from rca.config import ConfigError
from rca.export import formats
from rca.sources.unpacking import contents

pytestmark = pytest.mark.slow

SAMPLE = Path("data/embedded/voc12_animals_sample.tar")
PHOTOGRAPHS = 3

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")


@pytest.fixture(scope="module")
def exported(weights, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("exported") / "network.onnx"
    formats.export(weights, out=out, form="onnx", photographs=SAMPLE)
    return out


@pytest.fixture(scope="module")
def photographs(tmp_path_factory) -> list[Path]:
    folder = tmp_path_factory.mktemp("photographs")
    found = contents(SAMPLE, lambda name: name.endswith(".jpg"))
    for number, (_, content) in zip(range(PHOTOGRAPHS), found, strict=False):
        (folder / f"{number}.jpg").write_bytes(content)
    return sorted(folder.iterdir())


def test_load__gives_the_masks_of_the_network(weights, exported, photographs):
    settings = {"size": 200, "scales": [0.75, 1.0], "flip": True}
    models = [rca.load(file, **settings) for file in (weights, exported)]

    for photograph in photographs:
        expected, got = (model.predict(photograph) for model in models)
        assert (expected.mask == got.mask).mean() > 0.999
        np.testing.assert_allclose(got.confidence, expected.confidence, atol=1e-3)
        assert len(np.unique(expected.mask)) > 1


def test_load__takes_labels_settings_and_colours_from_the_file(weights, tmp_path):
    model = rca.load(weights, size=150, scales=[1.0], flip=False, crf=True)
    own = model.palette.copy()
    own[1] = (1, 2, 3)
    saved = tmp_path / "own.safetensors"
    type(model)(**{**vars(model), "palette": own}).save(saved)
    formats.export(saved, out=tmp_path / "own.onnx", form="onnx", photographs=SAMPLE)

    loaded = rca.load(tmp_path / "own.onnx")

    assert loaded.classes == model.classes
    assert loaded.settings == model.settings
    np.testing.assert_array_equal(loaded.palette, own)


def test_predict__writes_masks_with_an_onnx_file(exported, photographs, tmp_path):
    folder, out = photographs[0].parent, tmp_path / "out"

    run = CliRunner().invoke(
        cli.app, ["predict", str(folder), "--weights", str(exported), "--out", str(out)]
    )

    assert run.exit_code == 0, run.output
    model = rca.load(exported)
    settings = json.loads((out / "predict.json").read_text(encoding="utf-8"))["settings"]
    assert settings["onnxruntime"] == onnxruntime.__version__
    for photograph in photographs:
        mask = np.asarray(Image.open(out / "masks" / f"{photograph.stem}.png"))
        np.testing.assert_array_equal(mask, model.predict(photograph).mask)
    with (out / "predictions.csv").open(newline="", encoding="utf-8") as file:
        assert len(list(csv.DictReader(file))) == PHOTOGRAPHS


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"device": "cuda"}, "run on the CPU"),
        ({"size": 60, "scales": [1.0]}, "not of 60"),
        ({"size": 100, "scales": [0.5, 1.0]}, "not of 50"),
    ],
)
def test_load__refuses_what_an_onnx_file_cannot_do(exported, settings, message):
    with pytest.raises(ConfigError, match=message):
        rca.load(exported, **settings)


def test_load__refuses_a_file_that_says_nothing_of_its_labels(exported, tmp_path):
    model = onnx.load(exported)
    del model.metadata_props[:]
    onnx.save(model, tmp_path / "other.onnx")

    with pytest.raises(ConfigError, match=r"other.onnx: does not say which labels"):
        rca.load(tmp_path / "other.onnx")


@pytest.mark.parametrize("keep", [0, 1000])
def test_load__refuses_a_damaged_file(exported, tmp_path, keep):
    damaged = tmp_path / "damaged.onnx"
    damaged.write_bytes(exported.read_bytes()[:keep])

    with pytest.raises(ConfigError, match=r"damaged.onnx: .*export it again") as error:
        rca.load(damaged)
    assert "\n" not in str(error.value)


def test_load__without_onnxruntime_says_what_to_install(exported, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)

    with pytest.raises(ConfigError, match=r"onnxruntime is not installed.*rca-wsss\[export\]"):
        rca.load(exported)


def test_exported_network__is_neither_saved_nor_exported_again(exported, tmp_path):
    with pytest.raises(ConfigError, match="copy it"):
        rca.load(exported).save(tmp_path / "again.safetensors")
    with pytest.raises(ConfigError, match="exported already"):
        formats.export(exported, out=tmp_path / "b.onnx", form="onnx", photographs=SAMPLE)
    assert list(tmp_path.iterdir()) == []
