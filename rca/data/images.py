"""Reading images and masks, writing label maps; errors name the file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from rca.files import new_file


class DataError(ValueError):
    """A file of the data set cannot be used; the message names it and says what to do."""


def open_image(path: Path) -> Image.Image:
    """The image as it is stored, decoded.

    Raises:
        DataError: the file is missing or cannot be decoded.
    """
    try:
        image = Image.open(path)
        image.load()
    except FileNotFoundError:
        raise DataError(f"{path}: no such image") from None
    except (UnidentifiedImageError, OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise DataError(f"{path}: cannot be decoded ({error}); fetch it again") from None
    return image


def read_image(path: Path) -> Image.Image:
    """The image in RGB.

    Raises:
        DataError: the file is missing or cannot be decoded.
    """
    return open_image(path).convert("RGB")


def read_mask(path: Path) -> np.ndarray:
    """The values of a palette or grey PNG as stored, uint8 (H, W).

    Raises:
        DataError: the file is missing, cannot be decoded, or holds colours instead of values.
    """
    image = open_image(path)
    if image.mode not in ("P", "L"):
        raise DataError(f"{path}: a mask must be a palette or grey image, this is {image.mode}")
    return np.asarray(image)


def is_label_map(path: Path, height: int, width: int) -> bool:
    """Whether `path` is a whole label map of this size, as `write_label_map` leaves it."""
    try:
        with Image.open(path) as image:
            fits = (image.mode, image.size) == ("P", (width, height))
            image.verify()  # checksums: a decoder forgives a file that is cut short
    except (OSError, SyntaxError):
        return False
    return fits


def write_label_map(path: Path, labels: np.ndarray, palette: np.ndarray) -> None:
    """Write `labels` (uint8, H × W) as a palette PNG, whole or not at all."""
    image = Image.fromarray(labels.astype(np.uint8, copy=False), mode="P")
    image.putpalette(palette.astype(np.uint8).tobytes())
    with new_file(path) as partial:
        image.save(partial, format="PNG")
