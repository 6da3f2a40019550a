"""What the stages made of an image, as the layers that the report and the figures show."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache, partial
from pathlib import Path

import numpy as np

from rca.config import ROUNDS
from rca.data.cam_store import CamStore
from rca.data.images import DataError, read_image, read_mask
from rca.data.index import Index
from rca.labels.scores import rest_background, upsample_cams
from rca.presentation.gallery import Gallery, Layer
from rca.presentation.overlays import draw_cam, draw_labels
from rca.presentation.prototype_crops import has_prototypes

TRUTH = "Truth"
# This network's folder may be left over from an earlier run; its scores are always of this run.
SUPERVISED = "fully_supervised_val"
EVEN = 0.5  # class and background are equally probable


def galleries(
    data: Index,
    results: Path,
    threshold: float,
    scores: Mapping[str, Mapping[str, float]],
    doubts: Mapping[str, float],
) -> dict[str, Gallery]:
    """Build each split's gallery: its images, with what is shown of them."""
    records = {record.image: record for record in data.records}
    predictions = results / "infer_seg"
    networks = [label_layer(data, predictions / "pseudo", "Prediction", "network_val", "infer-seg")]
    rounds = {
        name: f"Round {number}"
        for number, name in enumerate(ROUNDS, start=1)
        if f"{name}_val" in scores
    }
    for name, title in rounds.items():
        folder, product = predictions / name, f"{name}_val"
        networks.append(label_layer(data, folder, title, product, "infer-seg"))
    if SUPERVISED in scores:
        folder = predictions / "truth"
        networks.append(label_layer(data, folder, "Trained on truth", SUPERVISED, "infer-seg"))
    made = [
        label_layer(data, results / folder, title, f"{folder}_train", folder.replace("_", "-"))
        for folder, title in (("pseudo_labels", "Pseudo-label"), ("crf", "After CRF"))
    ]
    made += [
        label_layer(
            data,
            results / "relabel" / name,
            title,
            f"{name}_train",
            "relabel",
        )
        for name, title in rounds.items()
    ]
    return {
        split: Gallery(
            tags={record.image: record.tags for record in data.split(split)},
            photo=lambda image: read_image(records[image].file),
            layers=[*_maps(data, results, split, threshold), *layers, truth_layer(data)],
            scores=scores,
            doubts=doubts,
        )
        for split, layers in (("val", networks), ("train", made))
    }


def _maps(data: Index, results: Path, split: str, threshold: float) -> list[Layer]:
    """Show the CAMs and, where there are any, the posteriors."""
    cams = cam_layer(data, results / "infer_cam" / split, f"cam_seeds_{split}", threshold)
    readout = results / "readout"
    if not has_prototypes(readout):
        return [cams]
    return [cams, readout_layer(data, readout / split, f"readout_{split}")]


def cam_layer(data: Index, folder: Path, product: str, threshold: float) -> Layer:
    """Show the highest CAM of each pixel, from the CAM store `folder`."""
    read = cam_reader(data, folder)
    draw = partial(draw_cam, threshold=threshold)
    return Layer(
        "CAM",
        product,
        lambda image: read(image)[1].max(axis=0, initial=0),
        draw,
        threshold,
        kind="scores",
    )


def readout_layer(data: Index, folder: Path, product: str) -> Layer:
    """Show the probability of each pixel's best class against the background, from posteriors."""
    read = cam_reader(data, folder)

    def lead(image: str) -> np.ndarray:
        posteriors = read(image)[1]
        best = posteriors.max(axis=0, initial=0)
        return best / (best + rest_background(posteriors))

    draw = partial(draw_cam, threshold=EVEN)
    return Layer("Readout", product, lead, draw, EVEN, kind="scores")


def cam_reader(data: Index, folder: Path) -> Callable[[str], tuple[np.ndarray, np.ndarray]]:
    """Return image → its classes, (N,) 0-based, and CAMs at its size, float32 (N, H, W)."""
    records = {record.image: record for record in data.records}
    store = cache(lambda: CamStore(folder))

    def read(image: str) -> tuple[np.ndarray, np.ndarray]:
        classes, maps = store().read(image)
        return classes, upsample_cams(maps, records[image].height, records[image].width)

    return read


def label_layer(data: Index, folder: Path, title: str, product: str | None, verb: str) -> Layer:
    """Show the label maps in `folder`, which `rca VERB` writes."""

    def read(image: str) -> np.ndarray:
        path = folder / f"{image}.png"
        if not path.is_file():
            raise DataError(f"{path}: no such file; run `rca {verb}` first")
        return read_mask(path)

    return Layer(title, product, read, partial(draw_labels, palette=data.palette))


def truth_layer(data: Index) -> Layer:
    """Show the true masks, where there are any."""
    records = {record.image: record for record in data.records}

    def read(image: str) -> np.ndarray | None:
        return data.truth(records[image]) if records[image].mask else None

    return Layer(TRUTH, None, read, partial(draw_labels, palette=data.palette))


def colours(data: Index) -> dict[str, str]:
    """Return class → its colour as `#rrggbb`."""
    return {
        name: "#" + bytes(data.palette[label]).hex()
        for label, name in enumerate(data.classes, start=1)
    }
