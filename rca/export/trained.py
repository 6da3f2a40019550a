"""A trained segmentation network with what its file says of it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from safetensors import safe_open

from rca.config import InferSeg, TrainSeg
from rca.models.deeplab import DeepLab
from rca.models.weights import load_network


@dataclass(frozen=True)
class Trained:
    """A network, the background and its classes, and its sections of the configuration."""

    network: DeepLab
    labels: tuple[str, ...]
    training: TrainSeg
    inference: InferSeg


def read_trained(path: Path) -> Trained:
    with safe_open(path, framework="pt") as file:
        metadata = json.loads((file.metadata() or {}).get("rca", "null"))
    classes = tuple(metadata["classes"])
    network = load_network(path, DeepLab, TrainSeg, classes)
    training = TrainSeg.model_validate(metadata["config"])
    inference = InferSeg(size=training.view.size, scales=[1.0], flip=False)
    return Trained(network, ("background", *classes), training, inference)
