"""Masks of photographs from a run's prototypes, against those of its stages."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_prototypes import CRF, READOUT, write_network, write_protocol
from tiny_results import CLASSES, write_results

import rca
from rca import cli
from rca.config import Compute, ConfigError
from rca.data.cam_store import CamStore
from rca.data.images import DataError, read_mask
from rca.data.index import read_index
from rca.inference import prototype_model
from rca.labels.crf import dense_crf
from rca.labels.scores import posterior_scores, upsample_cams
from rca.stages import readout


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    """A run as far as its prototypes, evaluated; its network is untrained."""
    folder = write_results(tmp_path_factory.mktemp("run"))
    write_network(folder, CLASSES)
    readout.run(
        READOUT,
        Compute(device="cpu", threads=1),
        0,
        index=folder / "index",
        weights=folder / "train_cam/weights.safetensors",
        cams=folder / "infer_cam",
        out=folder / "readout",
        state=folder / "state",
    )
    write_protocol(folder)
    return folder


def photograph(run: Path) -> Path:
    (record,) = read_index(run / "index").split("val")
    return record.file


def test_predict__is_the_posterior_of_the_stage_refined_by_the_crf(run, monkeypatch):
    classes, maps = CamStore(run / "readout/val").read("v")
    present = torch.zeros(len(CLASSES))
    present[torch.from_numpy(classes)] = 1
    monkeypatch.setattr(prototype_model, "predicted_classes", lambda *_: present)
    image = Image.open(photograph(run)).convert("RGB")
    scores = posterior_scores(upsample_cams(maps, image.height, image.width))
    refined = dense_crf(np.asarray(image), scores, CRF)

    model = rca.load(run / "readout")
    result = model.predict(photograph(run))
    without = rca.load(run / "readout", crf=False).predict(photograph(run))

    labels = np.array([0, *(classes + 1)])
    assert isinstance(model, rca.PrototypeModel)
    # The store rounds posteriors to 16 bits.
    np.testing.assert_allclose(model.score(image).probabilities, scores, atol=2e-4)
    np.testing.assert_allclose(result.confidence, refined.max(0), atol=5e-3)
    sure = np.ptp(np.sort(refined, axis=0)[-2:], axis=0) > 0.01
    assert sure.mean() > 0.5
    assert (result.mask == labels[refined.argmax(0)])[sure].all()
    assert set(np.unique(without.mask)) <= set(labels.tolist())
    np.testing.assert_allclose(without.confidence, scores.max(0), atol=2e-4)


def test_predict__labels_are_those_of_the_classes_that_the_network_finds(run, monkeypatch):
    last = torch.tensor([0.0] * (len(CLASSES) - 1) + [1.0])
    monkeypatch.setattr(prototype_model, "predicted_classes", lambda *_: last)
    model = rca.load(run / "readout/prototypes.safetensors", crf=False)
    scored = model.score(Image.open(photograph(run)).convert("RGB"))
    assert scored.labels.tolist() == [0, len(CLASSES)]
    assert set(np.unique(model.predict(photograph(run)).mask)) <= {0, len(CLASSES)}


def test_predict__command_writes_the_masks_that_python_gives(run, tmp_path, monkeypatch, capsys):
    out = tmp_path / "masks"
    command = ["rca", "predict", str(photograph(run)), "--weights", str(run / "readout")]
    monkeypatch.setattr("sys.argv", [*command, "--out", str(out)])
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert end.value.code in (0, None), capsys.readouterr().err
    (mask,) = (out / "masks").iterdir()
    assert np.array_equal(read_mask(mask), rca.load(run / "readout").predict(photograph(run)).mask)

    # Masks of other settings are never put beside them.
    monkeypatch.setattr("sys.argv", [*command, "--out", str(out), "--no-crf"])
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert end.value.code == 2
    assert "settings.crf" in capsys.readouterr().err


def test_load__takes_settings_from_a_parameter_file(run, tmp_path):
    params = Path("params.yaml").read_text(encoding="utf-8")
    file = tmp_path / "params.yaml"
    file.write_text(params.replace("background_weight: 3.0", "background_weight: 5.0"))
    model = rca.load(run / "readout", params=file, crf=CRF, max_pixels=100)
    assert model.described()["readout"]["background_weight"] == 5.0
    assert model.described()["max_pixels"] == 100
    assert model.refining == CRF


def test_load__says_what_prototypes_cannot_be_asked_for(run):
    with pytest.raises(ConfigError, match="size, flip: for networks only"):
        rca.load(run / "readout", size=200, flip=True)


def test_load__without_an_evaluation_asks_for_parameters(run, tmp_path):
    for name in ("readout", "train_cam"):
        (tmp_path / name).symlink_to(run / name)
    with pytest.raises(ConfigError, match=r"metrics.json: does not say .* give --params"):
        rca.load(tmp_path / "readout")


def test_load__names_damaged_prototypes(run, tmp_path):
    for name in ("train_cam", "evaluate"):
        (tmp_path / name).symlink_to(run / name)
    file = tmp_path / "readout/prototypes.safetensors"
    file.parent.mkdir()
    file.write_bytes((run / "readout/prototypes.safetensors").read_bytes()[:-9])
    with pytest.raises(DataError, match=r"damaged .*run `rca readout` again"):
        rca.load(file)
