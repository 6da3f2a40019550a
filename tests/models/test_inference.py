"""The network made ready for inference computes what the network computes."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from rca.config import Backbone, TrainCam, TrainSeg
from rca.models.cam_network import CamNetwork
from rca.models.deeplab import DeepLab
from rca.models.features import block_features
from rca.models.inference import Pointwise, fold_batch_norm, for_inference

CPU = torch.device("cpu")
IMAGES = torch.randn(2, 3, 64, 80, generator=torch.Generator().manual_seed(0))


def trained_statistics(network: nn.Module) -> nn.Module:
    """Give batch normalisation statistics and weights that are not those of its start."""
    draws = torch.Generator().manual_seed(1)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            for values in (module.running_mean, module.bias, module.running_var, module.weight):
                values.data.copy_(torch.rand(values.shape, generator=draws) / 2 + 0.5)
    return network.eval()


def norms(network: nn.Module) -> int:
    return sum(isinstance(module, nn.BatchNorm2d) for module in network.modules())


@pytest.mark.parametrize("name", ["mobilenet_v2", "resnet50", "vgg16"])
@pytest.mark.parametrize("head", ["deeplab_v2", "deeplab_v3"])
@torch.inference_mode()
def test_for_inference__computes_the_same_without_batch_norm(name: str, head: str) -> None:
    torch.manual_seed(0)
    backbone = Backbone(name=name, stride=16, weights="none")
    network = trained_statistics(DeepLab(3, TrainSeg(backbone=backbone, head=head)))
    names, before = list(network.state_dict()), norms(network)
    ready = for_inference(network, CPU)
    assert norms(ready) == 0
    assert (list(network.state_dict()), norms(network)) == (names, before)  # a copy was changed
    expected = network(IMAGES)
    torch.testing.assert_close(ready(IMAGES), expected, rtol=1e-4, atol=1e-4 * expected.std())


@torch.inference_mode()
def test_for_inference__keeps_what_the_readout_reads() -> None:
    cfg = TrainCam(backbone=Backbone(name="mobilenet_v2", stride=16, weights="none"))
    backbone = trained_statistics(CamNetwork(3, cfg)).backbone
    ready = for_inference(backbone, CPU)
    assert len(ready) == len(backbone)
    pair = (block_features(net, IMAGES[0], [13, 16], [64, 96]) for net in (backbone, ready))
    for one, two in zip(*pair, strict=True):
        torch.testing.assert_close(one, two, rtol=1e-4, atol=1e-4 * one.std())


def test_fold_batch_norm__only_what_is_known_to_follow_a_convolution() -> None:
    class Other(nn.Module):  # who knows what its `forward` does
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.norm = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)

    apart = nn.Sequential(nn.Conv2d(3, 3, 1), nn.ReLU(), nn.BatchNorm2d(3))
    network = nn.ModuleList([Other(), apart]).eval()
    fold_batch_norm(network)
    assert norms(network) == 2


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("stride", [1, 2])
def test_pointwise__equals_the_convolution(stride: int, threads: int) -> None:
    before = torch.get_num_threads()
    conv = nn.Conv2d(6, 5, 1, stride=stride, bias=stride == 1)
    features = torch.randn(2, 6, 9, 7).contiguous(memory_format=torch.channels_last)
    torch.set_num_threads(threads)
    try:
        torch.testing.assert_close(Pointwise(conv)(features), conv(features))
    finally:
        torch.set_num_threads(before)
