"""Trained weights on disk: safetensors that say what network they are of."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import nn

from rca.config import ConfigError, Section, TrainCam, TrainSeg
from rca.files import new_file

Config = TypeVar("Config", TrainCam, TrainSeg)
Network = TypeVar("Network", bound=nn.Module)


def save_weights(path: Path, network: nn.Module, classes: tuple[str, ...], cfg: Section) -> None:
    """Write the network's parameters and buffers, its class names and its configuration."""
    tensors = {
        key: value.detach().cpu().contiguous() for key, value in network.state_dict().items()
    }
    # One key: safetensors writes several in random order, and the bytes would differ.
    metadata = {"rca": json.dumps({"classes": classes, "config": cfg.model_dump(mode="json")})}
    with new_file(path) as partial:
        save_file(tensors, partial, metadata)


def read_config(path: Path, kind: type[Config], classes: tuple[str, ...]) -> Config:
    """The configuration that the weights at `path` were trained with.

    Its backbone's own weights are set to none: they are in the file.

    Raises:
        ConfigError: the file is missing or damaged, or is of other classes.
    """
    try:
        with safe_open(path, framework="pt") as file:
            metadata = json.loads((file.metadata() or {}).get("rca", "null"))
    except (FileNotFoundError, SafetensorError) as error:
        raise ConfigError(f"{path}: no usable weights ({error}); train again") from None
    if metadata is None:
        raise ConfigError(f"{path}: does not say what network it is of; train again")
    trained = tuple(metadata["classes"])
    if trained != classes:
        raise ConfigError(
            f"{path}: trained for {', '.join(trained)}; the index has {', '.join(classes)}: "
            "train again, or index the same classes"
        )
    cfg = kind.model_validate(metadata["config"])
    backbone = cfg.backbone.model_copy(update={"weights": "none"})
    return cfg.model_copy(update={"backbone": backbone})


def load_network(
    path: Path,
    build: Callable[[int, Config], Network],
    kind: type[Config],
    classes: Sequence[str],
    stride: int | None = None,
) -> Network:
    """The trained network at `path`, ready for inference.

    Args:
        path: as `save_weights` wrote it.
        build: number of classes and configuration → network.
        kind: the configuration's section.
        classes: that it must have been trained for.
        stride: of the backbone, if not that of the training.

    Raises:
        ConfigError: as `read_config`.
    """
    cfg = read_config(path, kind, tuple(classes))
    if stride:
        backbone = cfg.backbone.model_copy(update={"stride": stride})
        cfg = cfg.model_copy(update={"backbone": backbone})
    network = build(len(classes), cfg)
    network.load_state_dict(load_file(path))
    return network.eval()
