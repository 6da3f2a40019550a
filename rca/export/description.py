"""What an exported network says of itself: labels, preparation of images, how it was trained."""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from rca.config import InferSeg, TrainSeg
from rca.data.views import MEAN, STD
from rca.export.program import INPUT, OUTPUT, SMALLEST, Precision

PACKAGE = "rca-wsss"


def describe(
    labels: tuple[str, ...], training: TrainSeg, inference: InferSeg, precision: Precision
) -> dict[str, Any]:
    """Gather what someone needs who has the file and nothing else.

    Args:
        labels: the background and the classes, in the order of the network's output.
        training: section `train_seg` of the network.
        inference: section `infer_seg` that its masks are made with.
        precision: of the weights.
    """
    return {
        "labels": list(labels),
        "input": f"{INPUT}: float32 (batch, 3, height, width), RGB, values from 0 to 1, less "
        f"image_mean, divided by image_std; height and width are {SMALLEST} or more",
        "output": f"{OUTPUT}: float32 (batch, {len(labels)}, height, width), one channel a label; "
        "softmax over them gives probabilities, the largest is the label",
        "image_mean": MEAN,
        "image_std": STD,
        "short_side": inference.size,
        "precision": precision,
        "inference": inference.model_dump(mode="json"),
        "training": _without_folders(training.model_dump(mode="json")),
        "made_by": f"{PACKAGE} {_version(PACKAGE)}, torch {version('torch')}",
    }


def as_text(description: Mapping[str, Any]) -> dict[str, str]:
    """The same as text by key: what is no text, as JSON."""
    return {
        key: value if isinstance(value, str) else json.dumps(value)
        for key, value in description.items()
    }


def _without_folders(training: dict[str, Any]) -> dict[str, Any]:
    """The section with the backbone's file by its name: its folder is nobody else's business."""
    backbone = training["backbone"]
    return {**training, "backbone": {**backbone, "weights": Path(backbone["weights"]).name}}


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:  # run from the checkout, without an installation
        return "(not installed)"
