"""Photographs as the network receives them: upright, RGB, of a bounded size."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
from PIL import Image

from rca.data.images import DataError, open_image
from rca.data.upright import upright

# The network sees a short side of a few hundred pixels; a longer strip would exhaust the memory.
MAX_ASPECT = 40


def as_photograph(image: Image.Image | np.ndarray | str | Path) -> Image.Image:
    """Convert an image to a photograph as viewers show it, in RGB.

    Args:
        image: A PIL image, an array uint8 (H, W, 3) in RGB, or the path of a file.

    Raises:
        DataError: The file cannot be read, or the image cannot be segmented.
    """
    if isinstance(image, np.ndarray):
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or not image.size:
            raise DataError(
                f"an array must be uint8 (height, width, 3) in RGB; this is {image.dtype} "
                f"{image.shape}"
            )
        photograph = Image.fromarray(image)
    elif isinstance(image, Image.Image):
        photograph = upright(image)
    else:
        photograph = read_photograph(Path(image))
    _refuse_strip(photograph, "the image")
    return photograph


def read_photograph(path: Path) -> Image.Image:
    """Read a photograph from a file, as viewers show it, in RGB.

    Raises:
        DataError: The file cannot be read, or the photograph cannot be segmented.
    """
    image = open_image(path)
    try:
        photograph = upright(image)
    except Exception as error:  # whatever a damaged profile or EXIF block makes Pillow raise
        raise DataError(f"{path}: cannot be converted to RGB ({error}); save it again") from error
    _refuse_strip(photograph, str(path))
    return photograph


def reduced(image: Image.Image, max_pixels: int | None) -> Image.Image:
    """Reduce an image to at most `max_pixels` at the same aspect ratio; None is no limit."""
    pixels = image.width * image.height
    if max_pixels is None or pixels <= max_pixels:
        return image
    factor = math.sqrt(max_pixels / pixels)
    size = (max(int(image.width * factor), 1), max(int(image.height * factor), 1))
    return image.resize(size, Image.Resampling.BILINEAR)


def _refuse_strip(image: Image.Image, name: str) -> None:
    if max(image.size) > MAX_ASPECT * min(image.size):
        raise DataError(
            f"{name}: is {image.width} × {image.height}, more than {MAX_ASPECT} times as long as "
            "it is wide; cut it into pieces"
        )
