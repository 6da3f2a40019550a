"""Pictures embedded in a page: photographs, label maps and scores, each in few bytes.

Label maps and scores are stored without their photograph. The page's script draws them over it, so
that no pixel of the photograph is stored twice. Without the script, they are still viewable.
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
    """A picture as an `<img>` element takes it."""

    uri: str
    width: int
    height: int


def data_uri(image: Image.Image, quality: int = 80) -> str:
    """Encode `image` as a WebP data URI."""
    return _uri(image, quality=quality)


def embed_photograph(photo: Image.Image) -> Embedded:
    """Embed `photo` at its own size."""
    return Embedded(_uri(photo, quality=PHOTOGRAPH_QUALITY), *photo.size)


def embed_labels(labels: np.ndarray, size: tuple[int, int], palette: np.ndarray) -> Embedded:
    """Embed a label map in the colours of `palette`, without loss.

    Args:
        labels: uint8 (H, W).
        size: width and height of the picture.
        palette: uint8 (256, 3), label → colour; colours of different labels differ.
    """
    shown = np.asarray(Image.fromarray(labels).resize(size, Image.Resampling.NEAREST))
    return Embedded(_uri(Image.fromarray(palette[shown]), lossless=True), *size)


def embed_scores(scores: np.ndarray, size: tuple[int, int]) -> Embedded:
    """Embed scores in grey, from black for 0 to white for 1, reduced to `SCORES_SIDE` pixels.

    Args:
        scores: float32 (H, W) from 0 to 1.
        size: width and height of the photograph, at which the page shows them.
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
