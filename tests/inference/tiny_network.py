"""A small segmentation network with random weights, whose masks hold every class, and photographs.

The networks of the other tests are trained; what is tested here does not depend on what is learnt.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from rca.config import TrainSeg, View
from rca.config.training import Backbone
from rca.data.views import normalised
from rca.models.deeplab import DeepLab
from rca.models.weights import save_weights

CLASSES = ("cat", "dog", "cow")
CFG = TrainSeg(
    view=View(mode="crop", size=40, scale=(0.75, 1.25)),
    backbone=Backbone(name="mobilenet_v2", stride=16, weights="none", blocks=3),
)


def tiny_network(seed: int = 0) -> DeepLab:
    """Three blocks of MobileNetV2 and a random head whose labels are equally likely on average."""
    return _made(seed)  # one network for no seed and for 0, whatever the number of threads by then


@cache
def _made(seed: int) -> DeepLab:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = DeepLab(len(CLASSES), CFG).eval()
    with torch.inference_mode():
        views = torch.stack([normalised(photograph(seed)) for seed in range(8)])
        logits = network(views).flatten(2)
        means, spread = logits.mean((0, 2)), logits.std((0, 2))
        for branch in network.head:
            branch.weight /= spread[:, None, None, None] / 3
            branch.bias.copy_(-means / spread * 3 / len(network.head))
    return network


def write_weights(path: Path, seed: int = 0) -> Path:
    save_weights(path, tiny_network(seed), CLASSES, CFG)
    return path


def photograph(seed: int, width: int = 60, height: int = 44) -> Image.Image:
    """Blobs of colour."""
    draws = np.random.default_rng(seed)
    coarse = Image.fromarray(draws.integers(0, 256, (5, 7, 3), np.uint8))
    return coarse.resize((width, height), Image.Resampling.BICUBIC)
