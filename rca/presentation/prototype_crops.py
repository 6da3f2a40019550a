"""What the prototypes of stage `readout` stand for: crops around the pixels most like each."""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path
from typing import Any

from PIL.Image import Image

from rca.data.images import DataError, read_image, whole
from rca.data.index import Index
from rca.presentation.embedded import data_uri
from rca.presentation.overlays import draw_spot

NEAREST = "nearest.json"  # written where there are prototypes
SIDE = 96  # pixels
QUALITY = 70  # of the crops, which are many
BACKGROUND = "background"

Crop = dict[str, Any]


def has_prototypes(readout: Path) -> bool:
    """Return whether the maps in `readout`, the stage's folder, were read from prototypes."""
    return (readout / NEAREST).is_file()


def prototype_crops(data: Index, readout: Path) -> dict[str, list[list[Crop]]]:
    """Return label → its prototypes → crops, the most similar first; the background is last.

    Args:
        data: the index that the stage saw.
        readout: the stage's folder; nothing comes of one without prototypes, or of none.
    """
    if not has_prototypes(readout):
        return {}
    files = {record.image: record.file for record in data.records}

    @lru_cache(maxsize=32)
    def photo(image: str) -> Image:
        if image not in files:
            raise DataError(
                f"{readout / NEAREST}: names {image}, which the index does not hold; "
                "run `rca readout` again"
            )
        return read_image(files[image])

    def crop(pixel: dict[str, Any]) -> Crop:
        picture = draw_spot(photo(pixel["image"]), pixel["x"], pixel["y"], SIDE)
        uri = data_uri(picture, QUALITY)
        return {"image": pixel["image"], "cosine": pixel["cosine"], "side": SIDE, "uri": uri}

    found: dict[str, list[list[Crop]]] = {label: [] for label in (*data.classes, BACKGROUND)}
    with whole(readout / NEAREST, "run `rca readout` again"):
        for prototype in json.loads((readout / NEAREST).read_text(encoding="utf-8")):
            crops = [crop(pixel) for pixel in prototype["pixels"]]
            if crops:
                found[prototype["label"]].append(crops)
    return {label: rows for label, rows in found.items() if rows}
