"""Which classes get CAMs, and what the CAMs are, with a network small enough to follow."""

import numpy as np
import pytest
import torch

from rca.config import Attention, ConfigError, InferCam, TrainCam
from rca.data.cam_store import CamShard
from rca.data.index import Index, Record
from rca.models.found_classes import predicted_classes
from rca.models.weights import save_weights
from rca.stages.infer_cam import accumulated_maps, image_cams

CFG = InferCam(size=8, scales=[1.0], flip=False, stride=2, presence=0.5)


def network_of(maps: torch.Tensor):
    """A network whose final maps are always `maps`, (C, h, w)."""
    return lambda views: maps[None].expand(len(views), -1, -1, -1)


def test_predicted_classes__those_above_the_presence_threshold():
    maps = torch.tensor([3.0, -3.0, 0.2])[:, None, None].expand(3, 4, 4)
    found = predicted_classes(network_of(maps), torch.zeros(3, 8, 8), CFG)
    assert found.tolist() == [1, 0, 1]


def test_predicted_classes__the_best_one_even_if_no_class_is_probable():
    maps = torch.tensor([-3.0, -1.0, -2.0])[:, None, None].expand(3, 4, 4)
    found = predicted_classes(network_of(maps), torch.zeros(3, 8, 8), CFG)
    assert found.tolist() == [0, 1, 0]


def test_image_cams__present_classes_only_from_0_to_1_at_the_stored_size():
    maps = torch.randn(3, 4, 4, generator=torch.Generator().manual_seed(0))
    present = torch.tensor([1.0, 0.0, 1.0])
    classes, cams = image_cams(network_of(maps), torch.zeros(3, 8, 8), present, (8, 8), CFG)
    assert classes.tolist() == [0, 2]
    expected = maps[[0, 2]].relu()
    expected = expected / expected.amax(dim=(1, 2), keepdim=True)
    np.testing.assert_allclose(cams, expected.numpy(), rtol=1e-3, atol=1e-3)


def test_image_cams__an_image_without_classes_has_none():
    classes, cams = image_cams(
        network_of(torch.ones(3, 4, 4)), torch.zeros(3, 8, 6), torch.zeros(3), (8, 6), CFG
    )
    assert classes.shape == (0,)
    assert cams.shape == (0, 4, 3)


def accumulating(folder, accumulate: bool):
    """Weights of a training, what it accumulated of one image, and their index."""
    record = Record("a", "train", folder / "a.jpg", None, None, 8, 8, ("dog",))
    cfg = TrainCam(attention=Attention(accumulate=accumulate))
    save_weights(folder / "w.safetensors", torch.nn.Linear(1, 1), ("cat", "dog"), cfg)
    shard = CamShard(16)
    shard.add("a", np.array([1]), np.eye(4)[None])
    shard.write(folder / "attention.safetensors")
    return (
        folder / "w.safetensors",
        folder / "attention.safetensors",
        Index(folder, ("cat", "dog"), None, None, (record,)),
    )


def test_accumulated_maps__are_those_of_the_image(tmp_path):
    weights, attention, data = accumulating(tmp_path, accumulate=True)
    classes, maps = accumulated_maps(weights, attention, data)(data.records[0])
    assert classes.tolist() == [1]
    np.testing.assert_array_equal(maps, np.eye(4)[None])


def test_accumulated_maps__of_a_training_without_them_are_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"train_cam\.attention\.accumulate: true; train again"):
        accumulated_maps(*accumulating(tmp_path, accumulate=False))
