"""Class activation maps: scores of the image, and maps from 0 to 1."""

from __future__ import annotations

import torch
from torch import Tensor

from rca.method.numerics import full_precision


@full_precision
def image_scores(cams: Tensor) -> Tensor:
    """Class logits of each image: the mean of its raw maps (GAP), before any ReLU.

    Args:
        cams: (B, C, H, W), raw.

    Returns:
        (B, C).
    """
    return cams.mean(dim=(-2, -1))


@full_precision
def normalise_cams(cams: Tensor, tags: Tensor | None = None) -> Tensor:
    """Negative evidence cut off, each map divided by its maximum; zero where there is none.

    Args:
        cams: (B, C, H, W), raw.
        tags: (B, C); the maps of absent classes become zero. None keeps all classes.

    Returns:
        (B, C, H, W) from 0 to 1.
    """
    positive = cams.relu()
    peak = positive.amax(dim=(-2, -1), keepdim=True)
    normal = positive / peak.clamp_min(torch.finfo(cams.dtype).tiny)
    if tags is None:
        return normal
    return normal.masked_fill(~tags.bool()[..., None, None], 0)
