"""What the stages made of an image, as the layers that report and figures show."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from pathlib import Path

import numpy as np

from rca.data.cam_store import CamStore
from rca.data.images import DataError, read_mask
from rca.data.index import Index
from rca.drawing.gallery import Layer
from rca.drawing.overlays import draw_cam, draw_labels
from rca.labels.scores import upsample_cams

TRUTH = "Truth"


def cam_layer(data: Index, folder: Path, product: str, threshold: float) -> Layer:
    """The highest CAM of each pixel, from the CAM store `folder`."""
    read = cam_reader(data, folder)
    draw = partial(draw_cam, threshold=threshold)
    return Layer("CAM", product, lambda image: read(image)[1].max(axis=0, initial=0), draw)


def cam_reader(data: Index, folder: Path) -> Callable[[str], tuple[np.ndarray, np.ndarray]]:
    """Image → classes, (N,) 0-based, and their CAMs at the image's size, float32 (N, H, W)."""
    records = {record.image: record for record in data.records}
    store = cache(lambda: CamStore(folder))

    def read(image: str) -> tuple[np.ndarray, np.ndarray]:
        classes, maps = store().read(image)
        return classes, upsample_cams(maps, records[image].height, records[image].width)

    return read


def label_layer(data: Index, folder: Path, title: str, product: str | None, verb: str) -> Layer:
    """The label maps in `folder`, which `rca VERB` writes."""

    def read(image: str) -> np.ndarray:
        path = folder / f"{image}.png"
        if not path.is_file():
            raise DataError(f"{path}: no such file; run `rca {verb}` first")
        return read_mask(path)

    return Layer(title, product, read, partial(draw_labels, palette=data.palette))


def truth_layer(data: Index) -> Layer:
    """The true masks, where there are any."""
    records = {record.image: record for record in data.records}

    def read(image: str) -> np.ndarray | None:
        return data.truth(records[image]) if records[image].mask else None

    return Layer(TRUTH, None, read, partial(draw_labels, palette=data.palette))


def colours(data: Index) -> dict[str, str]:
    """Class → its colour as `#rrggbb`."""
    return {
        name: "#" + bytes(data.palette[label]).hex()
        for label, name in enumerate(data.classes, start=1)
    }
