"""The classification network with and without RSA, and its way to disk and back."""

import pytest
import torch
from safetensors.torch import load_file

from rca.config import Aggregation, Backbone, ConfigError, Head, TrainCam
from rca.models.cam_network import CamNetwork
from rca.models.weights import read_config, save_weights

BACKBONE = Backbone(name="mobilenet_v2", stride=16, weights="none")
CLASSES = ("cat", "dog")


def network(**rsa) -> CamNetwork:
    cfg = TrainCam(backbone=BACKBONE, head=Head(depth=1, width=8), rsa=Aggregation(**rsa))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return CamNetwork(len(CLASSES), cfg).eval()


def test_forward__shapes():
    with torch.no_grad():
        maps = network(prototypes=3)(torch.randn(2, 3, 64, 48))
    assert maps.features.shape == (2, 1280, 4, 3)
    assert maps.coarse.shape == maps.final.shape == (2, 2, 4, 3)


def test_forward__without_rsa_is_the_plain_cam():
    net = network(enabled=False)
    with torch.no_grad():
        maps = net(torch.randn(1, 3, 32, 32))
    assert maps.final is maps.coarse
    assert not [name for name in net.state_dict() if "prototypes" in name or "final" in name]


def test_forward__prototypes_change_the_final_map_and_not_the_coarse_one():
    net, image = network(prototypes=3), torch.randn(1, 3, 32, 32)
    with torch.no_grad():
        before = net(image)
        net.prototypes.copy_(torch.randn(net.prototypes.shape))
        net.prototypes_valid.fill_(True)
        after = net(image)
    assert torch.equal(before.coarse, after.coarse)
    assert not torch.allclose(before.final, after.final)


def test_weights__come_back_with_prototypes_and_configuration(tmp_path):
    net = network(prototypes=3)
    net.prototypes.normal_()
    net.prototypes_valid.fill_(True)
    cfg = TrainCam(backbone=BACKBONE, head=Head(depth=1, width=8), rsa=net.rsa)
    save_weights(tmp_path / "w.safetensors", net, CLASSES, cfg)
    again = CamNetwork(2, read_config(tmp_path / "w.safetensors", TrainCam, CLASSES))
    again.load_state_dict(load_file(tmp_path / "w.safetensors"))
    image = torch.randn(1, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(net(image).final, again.eval()(image).final)


def test_read_config__other_classes_are_refused(tmp_path):
    net = network(enabled=False)
    save_weights(tmp_path / "w.safetensors", net, CLASSES, TrainCam(rsa=net.rsa))
    with pytest.raises(ConfigError, match="trained for cat, dog; the index has cow"):
        read_config(tmp_path / "w.safetensors", TrainCam, ("cow",))


def test_read_config__damaged_weights_are_named(tmp_path):
    (tmp_path / "w.safetensors").write_bytes(b"cut off")
    with pytest.raises(ConfigError, match=r"w.safetensors: no usable weights"):
        read_config(tmp_path / "w.safetensors", TrainCam, CLASSES)
