"""Pictures inside a page: photographs, label maps and scores, each as few bytes as it needs.

Label maps and scores come without their photograph. The page's script draws them over it, so that
no pixel of the photograph is stored twice; where no script runs they are still pictures to look at.
"""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

PHOTOGRAPH_QUALITY = 45
SCORES_QUALITY = 60
SCORES_SIDE = 112  # pixels: maps of scores are smooth
METHOD = 4  # of libwebp, from 0 (fast) to 6 (small)


@dataclass(frozen=True)
class Embedded:
    """A picture as an `<img>` wants it."""

    uri: str
    width: int
    height: int


def data_uri(image: Image.Image, quality: int = 80) -> str:
    """`image` as a WebP data URI."""
    return _uri(image, quality=quality)


def embed_photograph(photo: Image.Image) -> Embedded:
    """`photo` at the size it has."""
    return Embedded(_uri(photo, quality=PHOTOGRAPH_QUALITY), *photo.size)


def embed_labels(labels: np.ndarray, size: tuple[int, int], palette: np.ndarray) -> Embedded:
    """A label map in the colours of `palette`, not one of them changed by compression.

    Args:
        labels: uint8 (H, W).
        size: width and height of the picture.
        palette: uint8 (256, 3), label → colour; colours of different labels differ.
    """
    shown = np.asarray(Image.fromarray(labels).resize(size, Image.Resampling.NEAREST))
    return Embedded(_uri(Image.fromarray(palette[shown]), lossless=True), *size)


def embed_scores(scores: np.ndarray, size: tuple[int, int]) -> Embedded:
    """Scores as grey, black for 0 and white for 1; smaller than `size`, which is where they go.

    Args:
        scores: float32 (H, W) from 0 to 1.
        size: width and height of the photograph that they belong to.
    """
    scale = min(1.0, SCORES_SIDE / max(size))
    small = (max(1, round(size[0] * scale)), max(1, round(size[1] * scale)))
    shrunk = Image.fromarray(scores).resize(small, Image.Resampling.BOX)
    grey = Image.fromarray(np.rint(np.clip(np.asarray(shrunk), 0, 1) * 255).astype(np.uint8))
    return Embedded(_uri(grey.convert("RGB"), quality=SCORES_QUALITY), *size)


def _uri(image: Image.Image, **options: Any) -> str:
    buffer = io.BytesIO()
    image.save(buffer, format="WEBP", method=METHOD, **options)
    return "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode()
