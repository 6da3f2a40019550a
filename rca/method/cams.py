"""Class activation maps: scores of the image, and maps from 0 to 1."""

from __future__ import annotations

import torch
from torch import Tensor

from rca.method.numerics import full_precision


@full_precision
def image_scores(cams: Tensor) -> Tensor:
    """Compute the class logits of each image: the mean of its raw maps (GAP), before any ReLU.

    Args:
        cams: The raw maps, (B, C, H, W).

    Returns:
        The logits, (B, C).
    """
    return cams.mean(dim=(-2, -1))


@full_precision
def normalise_cams(cams: Tensor, tags: Tensor | None = None) -> Tensor:
    """Set negative values to 0 and divide each map by its maximum; maps without a positive are 0.

    Args:
        cams: The raw maps, (B, C, H, W).
        tags: The image tags, (B, C). The maps of absent classes become zero. None keeps all
            classes.

    Returns:
        The maps, (B, C, H, W), from 0 to 1.
    """
    positive = cams.relu()
    peak = positive.amax(dim=(-2, -1), keepdim=True)
    normal = positive / peak.clamp_min(torch.finfo(cams.dtype).tiny)
    if tags is None:
        return normal
    return normal.masked_fill(~tags.bool()[..., None, None], 0)
