"""What the context adds to a map: the comparison takes away the context's differences alone."""

import pytest
import torch
from torch import nn

from benchmarks.context_share import maps_of
from rca.config import Aggregation, Head, TrainCam
from rca.models.cam_network import CamNetwork

CLASSES, K = 2, 3


class Patches(nn.Conv2d):
    """A backbone that tells pixels apart without having learnt to."""

    channels = 16

    def __init__(self, _cfg: object) -> None:
        super().__init__(3, self.channels, 16, stride=16)


@pytest.fixture
def network(monkeypatch) -> CamNetwork:
    monkeypatch.setattr("rca.models.cam_network.build_backbone", Patches)
    cfg = TrainCam(head=Head(depth=0), rsa=Aggregation(prototypes=K, scale="cosine"))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = CamNetwork(CLASSES, cfg).eval()
        network.prototypes.normal_()
    return network


def views(network: CamNetwork, valid: torch.Tensor) -> tuple[torch.Tensor, ...]:
    network.prototypes_valid.copy_(valid)
    view = torch.randn(1, 3, 64, 48, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        return network(view).final, *maps_of(network, view).split(CLASSES, dim=1)


def test_maps_of__the_first_are_the_network_s_own(network):
    own, final, flat, affinity = views(network, torch.ones(CLASSES, K, dtype=torch.bool))
    torch.testing.assert_close(final, own)
    assert not torch.allclose(final, flat)
    torch.testing.assert_close(affinity.sum(1), torch.ones_like(affinity[:, 0]))


def test_maps_of__a_single_prototype_makes_no_difference_between_pixels(network):
    valid = torch.zeros(CLASSES, K, dtype=torch.bool)
    valid[1, 2] = True
    _, final, flat, _ = views(network, valid)
    torch.testing.assert_close(final, flat)
