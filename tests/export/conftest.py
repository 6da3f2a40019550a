"""A small trained network, and photographs to check exports on."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from rca.config import Backbone, TrainSeg
from rca.models.deeplab import DeepLab
from rca.models.weights import save_weights

CLASSES = ("cat", "dog")
BACKBONE = Backbone(name="mobilenet_v2", stride=8, weights="none", blocks=4)


@pytest.fixture(scope="session")
def network() -> DeepLab:
    """A few blocks of MobileNetV2, for PyTorch takes long to export many."""
    torch.manual_seed(0)
    network = DeepLab(len(CLASSES), TrainSeg(backbone=BACKBONE)).eval()
    for branch in network.head:
        torch.nn.init.normal_(branch.weight, std=5.0)  # logits as large as trained ones
    return network


@pytest.fixture(scope="session")
def weights(network, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("trained") / "weights.safetensors"
    save_weights(path, network, CLASSES, TrainSeg(backbone=BACKBONE))
    return path
