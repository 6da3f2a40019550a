"""The folder of a network as the Hugging Face Hub expects it."""

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
    """Write the folder, replacing what was there.

    Args:
        out: The folder.
        model: The network with its settings.
        description: The description, as `describe` returns it.
        card: The model card.
    """
    with new_folder(out) as folder:
        model.save(folder / HUB_WEIGHTS)
        write_json(folder / "config.json", config(description))
        write_json(folder / "preprocessor_config.json", preprocessor(description))
        write_text(folder / "README.md", card)


def config(description: Mapping[str, Any]) -> dict[str, Any]:
    """Return the content of `config.json`: architecture, labels, training and inference."""
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
    """Return the preparation of an image, in the terms of transformers' image processors."""
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
