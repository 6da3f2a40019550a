"""Saliency maps of training images: a cue beyond tags, where the data set has such maps."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from rca.data.images import DataError, read_mask
from rca.data.index import Record


def require_saliency(records: Sequence[Record], otherwise: str) -> None:
    """Check that every image has a saliency map.

    Args:
        records: The records of the images.
        otherwise: What to set in `params.yaml` to do without saliency, for the message.

    Raises:
        DataError: Images have no saliency map; the message names the first few.
    """
    without = [record.image for record in records if record.saliency is None]
    if without:
        raise DataError(
            f"{len(without)} of {len(records)} training images have no saliency map "
            f"({', '.join(without[:3])}{', …' if len(without) > 3 else ''}); "
            f"add them to the data set, or set {otherwise}"
        )


def read_saliency(record: Record) -> np.ndarray:
    """Read an image's saliency map, float32 (H, W), from 0 to 1.

    Raises:
        DataError: The map cannot be read or differs from the image in size.
    """
    assert record.saliency is not None  # the caller ran `require_saliency`
    saliency = read_mask(record.saliency)
    if saliency.shape != (record.height, record.width):
        raise DataError(
            f"{record.saliency}: {saliency.shape[1]} × {saliency.shape[0]} pixels, the image has "
            f"{record.width} × {record.height}; resize the map"
        )
    return saliency.astype(np.float32) / 255
