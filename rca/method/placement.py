"""The place of a view in its image: maps carried from views to images and back.

A box holds left, top, right and bottom of a view, in units of the image's width and height: the
whole image is (0, 0, 1, 1), its mirror image (1, 0, 0, 1). A padded view ends beyond 1.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def to_image(maps: Tensor, boxes: Tensor, size: tuple[int, int]) -> Tensor:
    """Carry maps of views to their whole images, with 0 where a view does not reach.

    Args:
        maps: The maps of the views, (B, C, h, w).
        boxes: The boxes of the views, (B, 4).
        size: H and W of the result, a grid over the image.

    Returns:
        The maps of the images, (B, C, H, W).
    """
    start, end = boxes[:, :2], boxes[:, 2:]
    return _sampled(maps, -start / (end - start), (1 - start) / (end - start), size)


def to_view(maps: Tensor, boxes: Tensor, size: tuple[int, int]) -> Tensor:
    """Carry maps of images, (B, C, H, W), to their views, (B, C, *size); 0 outside the image."""
    return _sampled(maps, boxes[:, :2], boxes[:, 2:], size)


def _sampled(maps: Tensor, start: Tensor, end: Tensor, size: tuple[int, int]) -> Tensor:
    """Sample `maps` on a grid of `size` from `start` to `end`, (B, 2); 0 outside the maps."""
    scale, shift = end - start, end + start - 1  # from -1 … 1 to -1 … 1, (B, 2)
    affine = torch.cat([torch.diag_embed(scale), shift[..., None]], dim=2).to(maps)  # (B, 2, 3)
    grid = F.affine_grid(affine, [len(maps), 1, *size], align_corners=False)  # (B, H, W, 2)
    inside = (grid.abs() <= 1).all(dim=-1)[:, None]
    # `border`: from the outermost pixel centres to the edge, a map keeps its value.
    found = F.grid_sample(maps, grid, padding_mode="border", align_corners=False)
    return found.masked_fill(~inside, 0)
