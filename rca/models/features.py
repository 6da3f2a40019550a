"""Features from a backbone's blocks at several sizes of the image, on one grid."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from rca.models.backbones import Backbone


@torch.inference_mode()
def block_features(
    backbone: Backbone, image: Tensor, blocks: Sequence[int], sizes: Sequence[int]
) -> list[Tensor]:
    """Compute the output of several blocks at several sizes of an image.

    Args:
        backbone: The backbone.
        image: The normalised image, (3, H, W).
        blocks: The numbers of the blocks, 0-based.
        sizes: The sizes of the image, as the length of its short side in pixels.

    Returns:
        The features of all blocks at the first size, then at the next, each (D_b, h, w). h and w
        are those of the last block at the largest size.
    """
    found = [_at_size(backbone, image, blocks, size) for size in sizes]
    height, width = found[max(range(len(sizes)), key=sizes.__getitem__)][-1].shape[-2:]
    return [_resized(features, (height, width))[0] for at_size in found for features in at_size]


def _at_size(backbone: Backbone, image: Tensor, blocks: Sequence[int], size: int) -> list[Tensor]:
    """Compute the features of the blocks, in the backbone's order, each (1, D_b, h, w)."""
    height, width = image.shape[-2:]
    factor = size / min(height, width)
    shape = (round(height * factor), round(width * factor))
    view = _resized(image[None], shape).contiguous(memory_format=torch.channels_last)
    features = []
    for number, block in enumerate(backbone[: max(blocks) + 1]):
        view = block(view)
        if number in blocks:
            features.append(view)
    return features


def _resized(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize maps (B, D, h, w), without aliasing where they shrink."""
    if maps.shape[-2:] == size:
        return maps
    return F.interpolate(maps, size, mode="bilinear", align_corners=False, antialias=True)
