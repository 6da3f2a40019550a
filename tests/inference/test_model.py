"""`rca.load` and `predict`: inputs, results, settings and where they come from, messages."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import ExifTags, Image
from tiny_network import CFG, CLASSES, photograph, tiny_network, write_weights

import rca
from rca.config import Compute, ConfigError, Crf, InferSeg
from rca.config.cam import TrainCam
from rca.data.images import DataError, read_mask
from rca.data.index import Index, Record, write_index
from rca.data.palette import voc_palette
from rca.models.weights import save_weights
from rca.stages import infer_seg

ROOT = Path(__file__).parents[2]
CRF = Crf(iterations=2, bilateral_sxy=20, processes=1)


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> Path:
    return write_weights(tmp_path_factory.mktemp("weights") / "weights.safetensors")


def test_import__is_light():
    code = "import rca, sys; print(sorted({'torch', 'numpy', 'PIL', 'pydantic'} & {*sys.modules}))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
    assert {"load", "SegmentationModel"} <= set(dir(rca))
    with pytest.raises(AttributeError, match="laod"):
        rca.laod


@pytest.mark.parametrize(
    "cfg",
    [
        InferSeg(size=40, scales=[1.0], flip=False, crf=False),
        InferSeg(size=48, scales=[0.5, 1.0], flip=True, crf=True),
    ],
    ids=["plain", "all"],
)
def test_predict__is_infer_seg_byte_for_byte(tmp_path, weights, cfg):
    records = []
    for number, size in enumerate([(60, 44), (31, 57), (80, 80)]):
        file = tmp_path / f"{number}.jpg"
        photograph(number, *size).save(file)
        records.append(Record(str(number), "val", file, None, None, *size, ()))
    values = np.zeros(256, np.uint8)
    write_index(tmp_path / "index", Index(tmp_path, CLASSES, values, voc_palette(), tuple(records)))
    infer_seg.run(
        cfg,
        CRF,
        Compute(threads=1, device="cpu"),
        index=tmp_path / "index",
        weights=weights,
        out=tmp_path / "masks",
        state=tmp_path / "state",
    )
    model = rca.load(
        weights, **cfg.model_dump(exclude={"crf"}), crf=CRF if cfg.crf else False, threads=1
    )

    masks = [read_mask(tmp_path / f"masks/{record.image}.png") for record in records]
    results = model.predict([record.file for record in records])

    assert len({label for mask in masks for label in np.unique(mask)}) > 2
    for mask, result in zip(masks, results, strict=True):
        assert result.mask.dtype == np.uint8
        np.testing.assert_array_equal(result.mask, mask)


def test_predict__takes_files_images_and_arrays_alone_or_in_sequence(tmp_path, weights):
    model = rca.load(weights)
    image = photograph(1)
    image.save(tmp_path / "one.png")
    kinds = [image, np.asarray(image), tmp_path / "one.png", str(tmp_path / "one.png")]

    alone = [model.predict(kind) for kind in kinds]
    together = model.predict(kinds)
    assert isinstance(together, list) and isinstance(model.predict(tuple(kinds)), list)
    for result in alone + together:
        np.testing.assert_array_equal(result.mask, alone[0].mask)
    assert model.predict([]) == []


def test_result__confidence_and_classes_are_of_the_probabilities(weights):
    model = rca.load(weights, crf=False)
    image = photograph(2)
    probabilities = model.score(image).probabilities
    result = model.predict(image)

    assert result.mask.shape == result.confidence.shape == (44, 60)
    assert result.confidence.dtype == np.float32
    np.testing.assert_allclose(probabilities.sum(0), 1, atol=1e-5)
    np.testing.assert_array_equal(result.confidence, probabilities.max(0))
    np.testing.assert_array_equal(result.mask, probabilities.argmax(0))
    assert len(result.classes) > 1
    assert list(result.classes.values()) == sorted(result.classes.values(), reverse=True)
    for name, share in result.classes.items():
        region = result.mask == CLASSES.index(name) + 1
        assert share == region.mean() > 0
        assert result.found[name].confidence == pytest.approx(result.confidence[region].mean())
    absent = {name for i, name in enumerate(CLASSES, 1) if not (result.mask == i).any()}
    assert not absent & set(result.classes)


def test_result__overlay_tints_where_the_mask_is(weights):
    model = rca.load(weights)
    result = model.predict(photograph(2))
    drawn = np.asarray(result.overlay(), int)

    assert drawn.shape == (44, 60, 3)
    for name in result.classes:
        label = CLASSES.index(name) + 1
        region = result.mask == label
        before, after = (
            np.abs(picture[region] - result.palette[label].astype(int)).mean()
            for picture in (result.pixels, drawn)
        )
        assert after < 0.6 * before


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_predict__obeys_the_orientation_of_exif(tmp_path, weights, orientation):
    stored = photograph(3)
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    stored.save(tmp_path / "turned.png", exif=exif)
    turns = {1: 0, 3: 180, 6: 270, 8: 90}
    shown = stored.rotate(turns[orientation], expand=True)
    model = rca.load(weights)

    expected = model.predict(shown).mask
    np.testing.assert_array_equal(model.predict(tmp_path / "turned.png").mask, expected)
    opened = Image.open(tmp_path / "turned.png")
    np.testing.assert_array_equal(model.predict(opened).mask, expected)


def test_predict__large_photographs_are_worked_on_at_the_bound_and_answered_in_full(weights):
    image = photograph(4, 400, 300)
    small = rca.load(weights, max_pixels=30_000, crf=False).predict(image)
    whole = rca.load(weights, max_pixels=0, crf=False).predict(image)

    assert small.mask.shape == small.confidence.shape == (300, 400)
    assert small.pixels.shape[0] * small.pixels.shape[1] <= 30_000
    assert whole.pixels.shape == (300, 400, 3)
    assert (small.mask == whole.mask).mean() > 0.9
    assert small.confidence.min() > 0 and small.confidence.max() <= 1 + 1e-5


def test_load__folders_of_the_training_and_of_the_run(tmp_path, weights):
    place = tmp_path / "run/train_seg/pseudo/weights.safetensors"
    place.parent.mkdir(parents=True)
    shutil.copyfile(weights, place)
    for given in (place, place.parent, tmp_path / "run", str(tmp_path / "run")):
        model = rca.load(given)
        assert model.classes == CLASSES
        for key, value in model.network.state_dict().items():
            torch.testing.assert_close(value, tiny_network().state_dict()[key], rtol=0, atol=0)


def test_settings__of_a_lone_file_are_the_trainings_size(weights):
    settings = rca.load(weights).settings
    assert settings.infer_seg == InferSeg(size=40, scales=[1.0], flip=True, crf=False)
    assert settings.refining is None


def write_run(folder: Path, weights: Path, inference: dict, crf: dict) -> Path:
    place = folder / "train_seg/pseudo/weights.safetensors"
    place.parent.mkdir(parents=True)
    shutil.copyfile(weights, place)
    metrics = folder / "evaluate/metrics.json"
    metrics.parent.mkdir()
    protocol = {"segmentation_inference": inference, "crf": crf}
    metrics.write_text(json.dumps({"protocol": protocol}))
    return place


def test_settings__of_a_run_are_those_it_was_evaluated_with(tmp_path, weights):
    cfg = InferSeg(size=33, scales=[0.5, 2.0], flip=False, crf=True)
    crf = {"method": "dense", **CRF.model_dump(exclude={"processes", "method"})}
    place = write_run(tmp_path / "run", weights, cfg.model_dump(), crf)
    colours = np.roll(voc_palette(), 5, axis=0)
    values = np.zeros(256, np.uint8)
    write_index(tmp_path / "run/index", Index(tmp_path, CLASSES, values, colours, ()))

    model = rca.load(place)
    assert model.settings.infer_seg == cfg
    assert model.settings.refining == CRF.model_copy(update={"processes": 0})
    np.testing.assert_array_equal(model.palette, colours)
    # A CRF that the protocol does not describe cannot be repeated.
    other = write_run(tmp_path / "other", weights, cfg.model_dump(), {"method": "none"})
    assert rca.load(other).settings.infer_seg == rca.load(weights).settings.infer_seg
    third = write_run(tmp_path / "third", weights, {"size": 0}, {})
    with pytest.raises(ConfigError, match=r"metrics.json: infer_seg.size: "):
        rca.load(third)
    plain = cfg.model_copy(update={"crf": False})
    fourth = write_run(tmp_path / "fourth", weights, plain.model_dump(), {"method": "none"})
    assert rca.load(fourth).settings.infer_seg == plain


def test_settings__of_a_parameter_file_and_of_arguments_come_first(tmp_path, weights):
    cfg = InferSeg(size=33, scales=[0.5], flip=False, crf=False)
    place = write_run(tmp_path / "run", weights, cfg.model_dump(), {"method": "none"})

    assert rca.load(place, params=ROOT / "params.yaml").settings.infer_seg.size == 240
    assert rca.load(place, params=ROOT / "params.yaml").settings.crf.bilateral_srgb == 5
    changed = rca.load(place, scales=(1, 2), crf=True).settings.infer_seg
    assert changed == InferSeg(size=33, scales=[1, 2], flip=False, crf=True)


def test_save__keeps_settings_and_colours_in_one_file(tmp_path, weights):
    model = rca.load(weights, size=30, flip=False, crf=CRF, max_pixels=0)
    model.save(tmp_path / "one.safetensors")
    again = rca.load(tmp_path / "one.safetensors")

    assert again.settings == model.settings
    np.testing.assert_array_equal(again.palette, model.palette)
    image = photograph(5)
    np.testing.assert_array_equal(again.predict(image).mask, model.predict(image).mask)
    again.save(tmp_path / "two.safetensors")
    assert (tmp_path / "two.safetensors").read_bytes() == (
        tmp_path / "one.safetensors"
    ).read_bytes()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"size": 0}, "size: .*greater than or equal to 1"),
        ({"scales": []}, "scales: .*at least 1"),
        ({"scales": [1.0, -1.0]}, "scales.1: .*greater than 0"),
        ({"max_pixels": -3}, "max_pixels: "),
        ({"threads": 0}, "threads: "),
        ({"device": "tpu"}, "device: .*'auto', 'cpu' or 'cuda'"),
        ({"params": "none.yaml"}, "none.yaml: no such file"),
    ],
    ids=str,
)
def test_load__refuses_wrong_settings_in_a_line(weights, arguments, message):
    with pytest.raises(ConfigError, match=message):
        rca.load(weights, **arguments)


def test_load__refuses_what_is_no_network_for_masks(tmp_path, weights):
    (tmp_path / "empty").mkdir()
    (tmp_path / "cut.safetensors").write_bytes(weights.read_bytes()[:100])
    save_weights(tmp_path / "cam.safetensors", tiny_network(), CLASSES, TrainCam())
    for name, message in {
        "none.safetensors": "no such file; give that of stage train_seg",
        "empty": "holds no weights.safetensors",
        "cut.safetensors": "no usable weights",
        "cam.safetensors": "not of a network that section TrainSeg describes",
    }.items():
        with pytest.raises(ConfigError, match=f"{name}: .*{message}"):
            rca.load(tmp_path / name)


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.zeros((4, 4), np.uint8), "uint8"),
        (np.zeros((4, 4, 3), np.float32), "this is float32"),
        (np.zeros((0, 4, 3), np.uint8), "this is uint8"),
        (Image.new("RGB", (500, 5)), "500 × 5.*40 times"),
        ("none.jpg", "none.jpg: no such image"),
    ],
    ids=["grey", "float", "empty", "strip", "missing"],
)
def test_predict__refuses_what_is_no_photograph(weights, image, message):
    with pytest.raises(DataError, match=message):
        rca.load(weights).predict(image)


def test_cfg__is_that_of_the_training(weights):
    cfg = rca.load(weights).cfg
    assert cfg.view == CFG.view and cfg.backbone == CFG.backbone
