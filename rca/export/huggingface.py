"""A folder as the Hugging Face Hub expects it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rca.inference.model import HUB_WEIGHTS, SegmentationModel
from rca.runtime.files import new_folder, write_json, write_text

BILINEAR = 2  # Pillow's number, which transformers uses


def write_folder(
    out: Path, model: SegmentationModel, description: Mapping[str, Any], card: str
) -> None:
    """Write the folder, in place of what was there.

    Args:
        out: the folder.
        model: the network with its settings.
        description: as `describe` gives it.
        card: the model card.
    """
    with new_folder(out) as folder:
        model.save(folder / HUB_WEIGHTS)
        write_json(folder / "config.json", config(description))
        write_json(folder / "preprocessor_config.json", preprocessor(description))
        write_text(folder / "README.md", card)


def config(description: Mapping[str, Any]) -> dict[str, Any]:
    """The network: architecture, labels, how it was trained and is asked."""
    labels = description["labels"]
    return {
        "architectures": ["DeepLab"],
        "model_type": "rca-deeplab",
        "id2label": {str(number): label for number, label in enumerate(labels)},
        "label2id": {label: number for number, label in enumerate(labels)},
        "num_labels": len(labels),
        "torch_dtype": description["precision"],
        "inference": description["inference"],
        "training": description["training"],
        "made_by": description["made_by"],
    }


def preprocessor(description: Mapping[str, Any]) -> dict[str, Any]:
    """The preparation of an image, in the terms of transformers' image processors."""
    return {
        "do_convert_rgb": True,
        "do_resize": True,
        "size": {"shortest_edge": description["short_side"]},
        "resample": BILINEAR,
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": description["image_mean"],
        "image_std": description["image_std"],
    }
