"""The network's class probabilities for a photograph."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from rca.config import InferSeg
from rca.data.views import normalised
from rca.models.multiscale import multiscale

Network = Callable[[Tensor], Tensor]  # normalised images (B, 3, H, W) → logits (B, C + 1, H, W)


def class_probabilities(
    network: Network, image: Image.Image, cfg: InferSeg, device: torch.device
) -> np.ndarray:
    """Compute the probabilities of background and classes at each pixel, float32 (C + 1, H, W).

    Args:
        network: The segmentation network, on `device`.
        image: The image, in RGB.
        cfg: The size, the scales and whether to flip.
        device: The device to compute on.
    """
    probabilities = multiscale(
        partial(_softmax, network),
        normalised(image).to(device),
        short_side=cfg.size,
        scales=cfg.scales,
        flip=cfg.flip,
        output=(image.height, image.width),
    )
    return probabilities.cpu().numpy()


def _softmax(network: Network, images: Tensor) -> Tensor:
    return network(images).softmax(dim=1)
