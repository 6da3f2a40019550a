"""Parameter groups and schedules, in closed form."""

import pytest
import torch
from torch import nn

from rca.config import Optimiser
from rca.training.optimiser import base_rate, build_optimiser, set_rate


class Small(nn.Module):
    def __init__(self):
        super().__init__()
        self.backbone = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
        self.head = nn.Linear(2, 1)
        self.backbone[0].requires_grad_(False)


def test_build_optimiser__factors_of_old_and_new_weights_and_biases():
    network = Small()
    optimiser = build_optimiser(network, Optimiser(head_lr_factor=10, bias_lr_factor=2))
    factor = {id(p): group["factor"] for group in optimiser.param_groups for p in group["params"]}
    assert factor == {
        id(network.backbone[1].weight): 1,
        id(network.backbone[1].bias): 2,
        id(network.head.weight): 10,
        id(network.head.bias): 20,
    }


def test_set_rate__scales_every_group():
    optimiser = build_optimiser(Small(), Optimiser())
    set_rate(optimiser, 0.5)
    assert sorted(group["lr"] for group in optimiser.param_groups) == [0.5, 1.0, 5.0, 10.0]


@pytest.mark.parametrize(
    ("epoch", "rate"), [(0, 1), (4.9, 1), (5, 0.1), (9.9, 0.1), (10, 0.01), (29, 0.01)]
)
def test_base_rate__steps_as_the_released_code(epoch, rate):
    cfg = Optimiser(lr=1, schedule="step", milestones=[5, 10])
    assert base_rate(cfg, epoch, 30) == pytest.approx(rate)


@pytest.mark.parametrize("epoch", [0, 0.5, 3, 9.9])
def test_base_rate__poly(epoch):
    cfg = Optimiser(lr=2, schedule="poly", power=0.9)
    assert base_rate(cfg, epoch, 10) == pytest.approx(2 * (1 - epoch / 10) ** 0.9)


def test_build_optimiser__one_step_is_nesterov_with_decay():
    layer = nn.Linear(1, 1, bias=False)
    network = nn.Module()
    network.backbone = layer
    with torch.no_grad():
        layer.weight.fill_(2.0)
    optimiser = build_optimiser(network, Optimiser(lr=0.1, momentum=0.9, weight_decay=0.01))
    layer.weight.sum().backward()
    optimiser.step()
    gradient = 1 + 0.01 * 2.0
    assert layer.weight.item() == pytest.approx(2.0 - 0.1 * (gradient + 0.9 * gradient))
