"""The description in an exported network: labels, preparation of images, how it was trained."""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from rca.data.views import MEAN, STD
from rca.export.program import Precision
from rca.inference.model import SegmentationModel
from rca.inference.onnx_network import INPUT, OUTPUT, SMALLEST

PACKAGE = "rca-wsss"


def describe(model: SegmentationModel, precision: Precision) -> dict[str, Any]:
    """Gather everything that someone with nothing but the file needs to know.

    Args:
        model: The network, with the settings that its masks are made with.
        precision: The precision of the exported weights.
    """
    labels = ["background", *model.classes]
    return {
        "labels": labels,
        "input": f"{INPUT}: float32 (batch, 3, height, width), RGB, values from 0 to 1, less "
        f"image_mean, divided by image_std; height and width are {SMALLEST} or more",
        "output": f"{OUTPUT}: float32 (batch, {len(labels)}, height, width), one channel a label; "
        "softmax over them gives probabilities, the largest is the label",
        "image_mean": MEAN,
        "image_std": STD,
        "short_side": model.settings.infer_seg.size,
        "precision": precision,
        "palette": model.palette.tolist(),
        "inference": model.settings.model_dump(mode="json"),
        "training": model.cfg.model_dump(mode="json", exclude={"backbone": {"weights"}}),
        "made_by": f"{PACKAGE} {_version(PACKAGE)}, torch {version('torch')}",
    }


def as_text(description: Mapping[str, Any]) -> dict[str, str]:
    """Convert a description to text by key: values other than text become JSON."""
    return {
        key: value if isinstance(value, str) else json.dumps(value)
        for key, value in description.items()
    }


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:  # run from the checkout, without an installation
        return "(not installed)"
