"""Inference at several scales, with and without a flip."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor


def once_for_each_size(network: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """Wrap a network for views of a single image, so that it runs once for each size of them.

    Views of the same size are equal, as long as all are mirrored or none is.
    """
    found: dict[torch.Size, Tensor] = {}

    def run(views: Tensor) -> Tensor:
        if views.shape not in found:
            found[views.shape] = network(views)
        return found[views.shape]

    return run


@torch.inference_mode()
def multiscale(
    network: Callable[[Tensor], Tensor],
    image: Tensor,
    *,
    short_side: int,
    scales: Sequence[float],
    flip: bool,
    output: tuple[int, int],
) -> Tensor:
    """Compute the mean of a network's maps over scales and flips.

    Args:
        network: A function from images, (B, 3, h, w), to maps, (B, N, h', w').
        image: The normalised image, (3, H, W).
        short_side: The length of the short side at scale 1, in pixels.
        scales: The factors on `short_side`.
        flip: Whether to run the mirrored image too.
        output: The height and width of the result.

    Returns:
        The mean maps, (N, *output).
    """
    height, width = image.shape[-2:]
    total = torch.zeros((), device=image.device)
    for scale in scales:
        factor = short_side * scale / min(height, width)
        size = (max(round(height * factor), 1), max(round(width * factor), 1))
        view = F.interpolate(
            image[None], size, mode="bilinear", align_corners=False, antialias=factor < 1
        )
        views = torch.cat([view, view.flip(-1)]) if flip else view
        maps = network(views.contiguous(memory_format=torch.channels_last))
        if flip:
            maps = (maps[:1] + maps[1:].flip(-1)) / 2
        total = total + F.interpolate(maps, output, mode="bilinear", align_corners=False)[0]
    return total / len(scales)
