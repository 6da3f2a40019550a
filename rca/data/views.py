"""Views: how an image becomes the network's input.

All random choices come from the generator that is passed in. Every view makes the same number of
draws, so that it depends on its own seed alone.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms.v2 import functional as T

from rca.config import IGNORE, View

MEAN = [0.485, 0.456, 0.406]  # ImageNet's, in RGB
STD = [0.229, 0.224, 0.225]


class TrainingView(NamedTuple):
    """A view of an image, for training.

    Attributes:
        pixels: The normalised pixels, float32 (3, size, size).
        labels: The label map, int64 (size, size), 255 where a crop extends beyond the image; all
            255 without labels.
        box: The left, top, right and bottom of the view as fractions of the image's width and
            height, float32 (4,); left and right are swapped in a mirrored view.
    """

    pixels: Tensor
    labels: Tensor
    box: Tensor


def normalised(image: Image.Image | Tensor) -> Tensor:
    """Normalise an image with ImageNet's mean and standard deviation, float32 (3, H, W)."""
    tensor = image if isinstance(image, Tensor) else T.pil_to_tensor(image)
    return T.normalize(T.to_dtype(tensor, torch.float32, scale=True), MEAN, STD)


def training_view(
    image: Image.Image, labels: np.ndarray | None, cfg: View, generator: torch.Generator
) -> TrainingView:
    """Make a random view of an image and of its label map.

    Args:
        image: The image, in RGB.
        labels: The label map, uint8 (H, W), or None.
        cfg: The kind and strength of the augmentation.
        generator: The source of all random choices.
    """
    scale_draw, top_draw, left_draw, flip_draw, *colour = torch.rand(
        8, generator=generator
    ).tolist()
    pixels = T.pil_to_tensor(image)
    if labels is None:
        marks = torch.full((1, *pixels.shape[-2:]), IGNORE, dtype=torch.uint8)
    else:
        marks = torch.from_numpy(labels.copy())[None]
    if cfg.mode == "square":
        size = [cfg.size, cfg.size]
        pixels, marks = _resize(pixels, marks, size)
    else:
        low, high = cfg.scale
        factor = cfg.size * (low + (high - low) * scale_draw) / min(image.size)
        size = [max(round(side * factor), 1) for side in pixels.shape[-2:]]
        pixels, marks = _resize(pixels, marks, size)
    brightness, contrast, saturation, hue = (2 * draw - 1 for draw in colour)
    pixels = _jitter_light(pixels, cfg.jitter * brightness, cfg.jitter * contrast)
    box = torch.tensor([0.0, 0.0, 1.0, 1.0])
    if cfg.mode == "crop":
        pixels, marks, box = _crop(pixels, marks, cfg.size, top_draw, left_draw)
    # Only now, on the pixels that are left: these take longest, and treat each pixel by itself.
    pixels = normalised(_jitter_colour(pixels, cfg.jitter * saturation, cfg.hue * hue))
    if cfg.mode == "crop":
        pixels, marks = _padded(pixels, marks, cfg.size)
    if cfg.flip and flip_draw < 0.5:
        pixels, marks, box = pixels.flip(-1), marks.flip(-1), box[[2, 1, 0, 3]]
    return TrainingView(pixels, marks[0].long(), box)


def _resize(pixels: Tensor, marks: Tensor, size: list[int]) -> tuple[Tensor, Tensor]:
    return (
        T.resize(pixels, size, antialias=True),
        T.resize(marks, size, interpolation=T.InterpolationMode.NEAREST),
    )


def _jitter_light(pixels: Tensor, brightness: float, contrast: float) -> Tensor:
    """Change brightness and contrast; contrast depends on the mean of all pixels."""
    if brightness:
        pixels = T.adjust_brightness(pixels, 1 + brightness)
    return T.adjust_contrast(pixels, 1 + contrast) if contrast else pixels


def _jitter_colour(pixels: Tensor, saturation: float, hue: float) -> Tensor:
    """Change saturation and hue, pixel by pixel."""
    if saturation:
        pixels = T.adjust_saturation(pixels, 1 + saturation)
    return T.adjust_hue(pixels, hue) if hue else pixels


def _crop(
    pixels: Tensor, marks: Tensor, size: int, top_draw: float, left_draw: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Cut out a size × size window, as much of it as the image has, and its box."""
    height, width = pixels.shape[-2:]
    top = int(top_draw * (max(height, size) - size + 1))
    left = int(left_draw * (max(width, size) - size + 1))
    window = (..., slice(top, top + size), slice(left, left + size))
    corners = torch.tensor([left, top, left + size, top + size], dtype=torch.float32)
    return pixels[window], marks[window], corners / torch.tensor([width, height] * 2)


def _padded(pixels: Tensor, marks: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Pad a normalised window to size × size: outside the image are mean colour and 255."""
    height, width = pixels.shape[-2:]
    pad = [0, 0, size - width, size - height]
    return T.pad(pixels, pad, fill=0), T.pad(marks, pad, fill=IGNORE)
