"""Training on noise with a network of one convolution: every key of the method is heard."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor, nn

from rca.config import Compute, ConfigError, TrainCam
from rca.data.cam_store import CamStore
from rca.data.images import DataError
from rca.data.index import Index, Record, read_index, write_index
from rca.data.palette import voc_palette
from rca.models.backbones import Backbone
from rca.stages import train_cam
from rca.training import cam_training
from rca.training.seeds import generator

CLASSES = ("cat", "cow", "dog")
TAGS = [("cat",), ("cow", "dog"), ("dog",), ("cat", "cow"), ("cow",), ("cat", "dog")]
BASE: dict[str, Any] = {
    "epochs": 4,
    "batch_size": 3,
    "view": {"mode": "crop", "size": 16, "scale": (0.8, 1.2), "flip": True, "jitter": 0, "hue": 0},
    "backbone": {"stride": 8},
    "head": {"depth": 1, "width": 6},
    "optimiser": {"lr": 0.05},
    "memory": {"slots": 3, "gate": 0.49, "momentum": 0.5},
    "rsc": {"weight": 1.0, "start_epoch": 1},
    "rsa": {"prototypes": 2, "scale": "rsqrt_dim"},
    "attention": {"accumulate": True, "size": 4, "gate": 0.49},
}
# What must be on, beside, for a key to be heard.
NEEDS: dict[str, dict[str, Any]] = {
    "memory.momentum": {"memory.update": "ema"},
    "memory.background_level": {"memory.background": True},
    "rsc.background_queries": {"memory.background": True},
    "rsc.projection_width": {"rsc.projection": "linear"},
    "rsa.background": {"memory.background": True},
    "rsc.region_fraction": {"rsc.region_rule": "max_fraction"},
    "rsc.form": {"rsc.temperature": 0.005},  # the clamp bites where one positive dominates
    "rsa.temperature": {"rsa.scale": "cosine"},
    "attention.fill_missing": {"attention.gate": 0.999},
    "attention.drop_threshold": {"attention.drop": True},
    "attention.drop_probability": {"attention.drop": True},
}
OTHER = {
    "memory.slots": 2,
    "memory.start_epoch": 2,
    "memory.gate": 0.51,
    "memory.momentum": 0.9,
    "memory.background_level": 0.05,
    "rsc.confident_share": 0.3,
    "rsc.query_gate": 0.5,
    "rsc.projection_width": 3,
    "rsc.weight": 0.1,
    "rsc.start_epoch": 2,
    "rsc.temperature": 0.2,
    "rsc.beta": 1.0,
    "rsc.region_fraction": 0.6,
    "rsa.prototypes": 3,
    "rsa.start_epoch": 2,
    "rsa.temperature": 0.2,
    "attention.start_epoch": 3,
    "attention.gate": 0.6,
    "attention.size": 6,
    "attention.drop_threshold": 0.99,
    "attention.drop_probability": 1.0,
    "auxiliary_weight": 0.1,
}


def switches() -> list[tuple[str, Any]]:
    """Each key of the method with each value other than that of `BASE`."""
    base, found = TrainCam.model_validate(BASE), [("auxiliary_weight", OTHER["auxiliary_weight"])]
    for section in ("memory", "rsc", "rsa", "attention"):
        for name, field in type(getattr(base, section)).model_fields.items():
            key, kind = f"{section}.{name}", field.annotation
            values = [OTHER[key]] if key in OTHER else [True, False]
            if get_origin(kind) is Literal:
                values = get_args(kind)
            at_base = getattr(getattr(base, section), name)
            found += [(key, value) for value in values if value != at_base]
    return found


@pytest.fixture(autouse=True)
def one_convolution(monkeypatch):
    def backbone(cfg) -> Backbone:
        network = Backbone(nn.Conv2d(3, 8, 8, stride=8), nn.ReLU())
        network.channels = 8
        return network

    monkeypatch.setattr("rca.models.cam_network.build_backbone", backbone)


@pytest.fixture(scope="module")
def index(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("index")
    records = []
    for number, tags in enumerate(TAGS):
        path = folder / f"{number}.png"
        pixels = np.random.default_rng(number).integers(0, 256, (20, 24, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(path)
        records.append(Record(str(number), "train", path, None, None, 24, 20, tags))
    values = np.arange(256, dtype=np.uint8)
    write_index(folder, Index(folder, CLASSES, values, voc_palette(), tuple(records)))
    return folder


def configured(changes: dict[str, Any]) -> TrainCam:
    content = TrainCam.model_validate(BASE).model_dump()
    for key, value in changes.items():
        *section, name = key.split(".")
        (content[section[0]] if section else content)[name] = value
    return TrainCam.model_validate(content)


def trained(index: Path, out: Path, **changes: Any) -> dict[str, bytes]:
    """The files of a training."""
    cfg = configured({key.replace("__", "."): value for key, value in changes.items()})
    run(cfg, index, out)
    return contents(out)


def run(cfg: TrainCam, index: Path, out: Path, views: Path | None = None, **compute: Any) -> None:
    settings = Compute(device="cpu", threads=1, checkpoint_steps=1, **compute)
    state = out.parent / "state"
    train_cam.run(cfg, settings, 0, index=index, out=out, state=state, views=views)


@pytest.fixture(scope="module")
def known() -> dict[tuple, dict[str, bytes]]:
    """Files of trainings that several tests hold others against."""
    return {}


@pytest.mark.parametrize(("key", "value"), switches(), ids=str)
def test_run__every_key_of_the_method_is_heard(index, tmp_path, known, key, value):
    needs = NEEDS.get(key, {})
    if (before := known.get(tuple(needs))) is None:
        before = known[tuple(needs)] = trained(index, tmp_path / "before", **needs)
    after = trained(index, tmp_path / "after", **{**needs, key: value})
    # Not the weights: they hold the configuration.
    different = {name for name in before if before[name] != after[name]} - {"weights.safetensors"}
    expected = "attention.safetensors" if key.startswith("attention.") else "history.csv"
    assert expected in different


@pytest.fixture
def frozen_convolution(monkeypatch):
    def backbone(cfg) -> Backbone:
        with torch.random.fork_rng():
            torch.manual_seed(3)
            frozen = nn.Conv2d(3, 8, 8, stride=8).requires_grad_(False)
        network = Backbone(frozen, nn.Conv2d(8, 8, 1), nn.ReLU())
        network.channels = 8
        return network

    monkeypatch.setattr("rca.models.cam_network.build_backbone", backbone)


def test_run__with_kept_views_trains_the_same_and_reads_no_photograph_twice(
    index, tmp_path, monkeypatch, frozen_convolution
):
    cfg = configured({"backbone.frozen_blocks": 1})
    run(cfg, index, tmp_path / "plain/out")
    run(cfg, index, tmp_path / "kept/out", views=tmp_path / "views")
    plain, kept = (load_file(tmp_path / n / "out/weights.safetensors") for n in ("plain", "kept"))
    assert plain.keys() == kept.keys()
    for name in plain:
        torch.testing.assert_close(plain[name], kept[name], atol=1e-4, rtol=1e-3)
    assert len(list((tmp_path / "views").glob("*/epoch-*.safetensors"))) == 4

    monkeypatch.setattr("rca.data.datasets.read_image", None)
    run(cfg, index, tmp_path / "again/out", views=tmp_path / "views")
    assert contents(tmp_path / "again/out") == contents(tmp_path / "kept/out")


def test_run__kept_views_are_of_their_view_frozen_blocks_and_code(
    index, tmp_path, monkeypatch, frozen_convolution
):
    for number, changes in enumerate(({}, {"view.flip": False}, {"backbone.frozen_blocks": 2})):
        cfg = configured({"backbone.frozen_blocks": 1, **changes})
        run(cfg, index, tmp_path / f"{number}/out", views=tmp_path / "views")
    assert len(list((tmp_path / "views").iterdir())) == 3
    monkeypatch.setattr("rca.training.frozen_views.code_digest", lambda module: f"other {module}")
    run(cfg, index, tmp_path / "edited/out", views=tmp_path / "views")
    assert len(list((tmp_path / "views").iterdir())) == 4


def test_run__kept_views_need_frozen_blocks_and_whole_photographs(index, tmp_path):
    for changes, expected in (
        ({}, "frozen_blocks: 0, so there is nothing to keep"),
        ({"backbone.frozen_blocks": 1, "attention.drop": True}, "attention.drop: erases"),
    ):
        with pytest.raises(ConfigError, match=expected):
            run(configured(changes), index, tmp_path / "out", views=tmp_path / "views")


class Killed(BaseException):
    pass


def killed_before_step(number: int, monkeypatch, run: Callable[[], None]) -> None:
    losses, steps = cam_training.rca_losses, iter(range(100))

    def counted(*arguments: Any) -> dict[str, Tensor]:
        if next(steps) == number:
            raise Killed
        return losses(*arguments)

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(cam_training, "rca_losses", counted)
        run()


# Of four epochs with two steps each: the first step, within an epoch, between two, the last step.
@pytest.mark.parametrize("step", [1, 3, 4, 7])
@pytest.mark.parametrize(
    "changes",
    [
        {"attention.drop": True, "memory.update": "slot_ema", "rsc.query": "head"},
        {"rsa.prototype_rule": "rows", "attention.accumulate": False},
        {
            "memory.update": "image_ema",
            "memory.background": True,
            "rsc.background_queries": True,
            "rsc.partner": "other_image",
            "rsc.projection": "nonlinear",
            "rsa.background": True,
        },
    ],
    ids=["oaa", "control", "background"],
)
def test_run__killed_and_run_again_writes_the_same_bytes(
    index, tmp_path, monkeypatch, changes, step
):
    cfg = configured(changes)
    run(cfg, index, tmp_path / "whole" / "out")
    killed_before_step(step, monkeypatch, lambda: run(cfg, index, tmp_path / "out"))
    assert not (tmp_path / "out").exists()
    run(cfg, index, tmp_path / "out")
    assert contents(tmp_path / "out") == contents(tmp_path / "whole" / "out")
    assert not list((tmp_path / "state").rglob("*.safetensors"))


def test_run__takes_no_checkpoint_of_another_configuration(index, tmp_path, monkeypatch, caplog):
    killed_before_step(3, monkeypatch, lambda: run(configured({}), index, tmp_path / "out"))
    with caplog.at_level("INFO"):
        run(configured({"rsc.beta": 2.0}), index, tmp_path / "out")
        assert "resuming" not in caplog.text
        run(configured({}), index, tmp_path / "out")
    assert "resuming after step 3" in caplog.text


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_run__in_half_precision_is_close_and_keeps_float32(index, tmp_path, precision):
    whole, half = tmp_path / "float32" / "out", tmp_path / precision / "out"
    run(configured({}), index, whole)
    run(configured({}), index, half, precision=precision)
    assert {value.dtype for value in load_file(half / "weights.safetensors").values()} == {
        torch.float32,
        torch.bool,
    }
    one, two = (np.loadtxt(out / "history.csv", delimiter=",", skiprows=1) for out in (whole, half))
    assert not np.array_equal(one, two)
    # The first epoch's classification loss: later ones also tell of the mixup's chaos.
    np.testing.assert_allclose(two[0], one[0], rtol=2e-2)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_run__accumulated_maps_are_of_the_images_tags_and_reach_1(index, tmp_path):
    trained(index, tmp_path / "out")
    store = CamStore(tmp_path / "out/attention.safetensors")
    assert list(store) == [str(number) for number in range(len(TAGS))]
    for image, tags in zip(store, TAGS, strict=True):
        classes, maps = store.read(image)
        assert [CLASSES[label] for label in classes] == list(tags)
        assert maps.shape[1:] == (4, 4)
        assert ((maps.max(axis=(1, 2)) == 1) | (maps.max(axis=(1, 2)) == 0)).all()


def test_run__without_accumulation_the_store_is_empty(index, tmp_path):
    trained(index, tmp_path / "out", attention__accumulate=False)
    with pytest.raises(DataError, match="holds no CAMs"):
        CamStore(tmp_path / "out/attention.safetensors")


def test_run__accumulating_does_not_change_the_training(index, tmp_path):
    with_it, without = (
        trained(index, tmp_path / str(on), attention__accumulate=on) for on in (True, False)
    )
    assert with_it["history.csv"] == without["history.csv"]


def test_refit_prototypes__random_ones_stay_where_they_are(index):
    cfg = configured({"rsa.prototype_rule": "noise"})
    data = read_index(index)
    seeds = partial(generator, 0)
    trainer = cam_training.CamTrainer(cfg, Compute(), data, seeds, torch.device("cpu"))
    drawn = []
    for epoch in (1, 2):
        cam_training.refit_prototypes(trainer.network, trainer.memory, cfg, epoch, seeds)
        drawn.append(trainer.network.prototypes.clone())
    assert torch.equal(*drawn) and drawn[0].abs().min() > 0


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("g++"), reason="torch.compile needs a C++ compiler")
def test_run__compiled_has_the_losses_of_the_network_as_it_is(index, tmp_path, monkeypatch):
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "cache"))
    cfg = configured({"epochs": 2})  # contrast and aggregation begin in the second
    for name, compiled in (("plain", False), ("compiled", True)):
        run(cfg, index, tmp_path / name, compile=compiled)

    plain, compiled = (
        np.loadtxt(tmp_path / name / "history.csv", delimiter=",", skiprows=1)
        for name in ("plain", "compiled")
    )
    assert list((tmp_path / "cache").rglob("*.so")), "nothing was compiled"
    np.testing.assert_allclose(compiled, plain, rtol=1e-4, atol=2e-6)
