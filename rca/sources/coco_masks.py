"""One mask per image from COCO's instances; see docs/decisions.

Where instances overlap, the smaller one is on top: what stands in front of another object, or is
part of it, is mostly smaller. Crowd regions (`iscrowd`) are 255 and lie below all instances: COCO
outlines them loosely, and its own evaluation ignores them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pycocotools import mask as coco

from rca.config import IGNORE
from rca.data.images import DataError, write_label_map
from rca.data.palette import voc_palette

CORNERS = 3  # of a polygon that covers pixels; pycocotools reads two as a bounding box


@dataclass(frozen=True)
class Instance:
    """An annotation: its id, mask value, area, whether it is a crowd, and COCO's outline."""

    number: int
    value: int
    area: float
    crowd: bool
    outline: Sequence[Sequence[float]] | Mapping[str, Any]


@dataclass(frozen=True)
class Sheet:
    """An image's name, size in pixels and instances."""

    image: str
    width: int
    height: int
    instances: tuple[Instance, ...]


def rasterise(sheet: Sheet) -> np.ndarray:
    """Draw the mask of an image, uint8 (H, W): 0 background, 1 … C classes, 255 crowds.

    Raises:
        ValueError: An outline cannot be read by pycocotools.
    """
    mask = np.zeros((sheet.height, sheet.width), np.uint8)
    order = sorted(sheet.instances, key=lambda one: (not one.crowd, -one.area, one.number))
    for instance in order:
        inside = _region(instance, sheet.height, sheet.width)
        mask[inside] = IGNORE if instance.crowd else instance.value
    return mask


def write_mask(sheet: Sheet, folder: Path) -> None:
    """Write the mask of one image to `folder`.

    Raises:
        DataError: An outline cannot be read.
    """
    try:
        mask = rasterise(sheet)
    except (ValueError, TypeError, KeyError) as error:
        raise DataError(
            f"{sheet.image}: an annotation's outline cannot be read ({error}); "
            "fetch the annotations again"
        ) from None
    write_label_map(folder / f"{sheet.image}.png", mask, voc_palette())


def _region(instance: Instance, height: int, width: int) -> np.ndarray:
    """Return where the instance is, bool (H, W)."""
    outline = instance.outline
    if isinstance(outline, Mapping):  # run lengths, as text or as a list of numbers
        runs = outline
        if isinstance(outline["counts"], list):
            runs = coco.frPyObjects(outline, height, width)
        return coco.decode(runs).astype(bool)
    polygons = [polygon for polygon in outline if len(polygon) >= 2 * CORNERS]
    if not polygons:
        return np.zeros((height, width), bool)
    return coco.decode(coco.merge(coco.frPyObjects(polygons, height, width))).astype(bool)
