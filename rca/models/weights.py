"""Trained weights on disk: safetensors files whose metadata describes the network."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn, uint8

from rca.config import ConfigError, Section, TrainCam, TrainSeg
from rca.data.checksums import checksum
from rca.runtime.files import new_file

CHECKSUM = "checksum"  # of the tensors and of all other metadata
Config = TypeVar("Config", TrainCam, TrainSeg)
Network = TypeVar("Network", bound=nn.Module)


def save_weights(
    path: Path, network: nn.Module, classes: Sequence[str], cfg: Section, **more: Any
) -> None:
    """Write the network's parameters and buffers, its class names and its configuration.

    Args:
        path: The file to write.
        network: The network.
        classes: The names of the network's classes, in order.
        cfg: The section that describes the network.
        more: Further metadata of the network, as JSON values.
    """
    tensors = {
        key: value.detach().cpu().contiguous() for key, value in network.state_dict().items()
    }
    said = {"classes": classes, "config": cfg.model_dump(mode="json"), **more}
    # One key, since safetensors writes several in random order, and the bytes would differ.
    metadata = {"rca": json.dumps({**said, CHECKSUM: _checksum(said, tensors)})}
    with new_file(path) as partial:
        save_file(tensors, partial, metadata)


def read_metadata(path: Path) -> Mapping[str, Any]:
    """Read the description of a network from its weights file: `classes`, `config` and any more.

    Raises:
        ConfigError: The file is missing or damaged, or holds no description.
    """
    try:
        with safe_open(path, framework="pt") as file:
            metadata = json.loads((file.metadata() or {}).get("rca", "null"))
    except (OSError, SafetensorError, ValueError) as error:
        raise ConfigError(f"{path}: no usable weights ({error}); train again") from None
    if not isinstance(metadata, dict) or not {"classes", "config"} <= metadata.keys():
        raise ConfigError(f"{path}: does not say what network it is of; train again")
    return metadata


def read_config(path: Path, kind: type[Config], classes: tuple[str, ...]) -> Config:
    """Read the configuration that the weights in a file were trained with.

    The configured weights of its backbone are set to `none`, since the file holds all weights.

    Args:
        path: The file, as `save_weights` wrote it.
        kind: The section that describes the network.
        classes: The classes that the network must have been trained for.

    Raises:
        ConfigError: The file is missing or damaged, or has other classes or another network.
    """
    metadata = read_metadata(path)
    trained = tuple(metadata["classes"])
    if trained != classes:
        raise ConfigError(
            f"{path}: trained for {', '.join(trained)}; the index has {', '.join(classes)}: "
            "train again, or index the same classes"
        )
    try:
        cfg = kind.model_validate(metadata["config"])
    except ValidationError:
        raise ConfigError(
            f"{path}: is not of a network that section {kind.__name__} describes; "
            "give another file, or train again with this version"
        ) from None
    backbone = cfg.backbone.model_copy(update={"weights": "none"})
    return cfg.model_copy(update={"backbone": backbone})


def load_network(
    path: Path,
    build: Callable[[int, Config], Network],
    kind: type[Config],
    classes: Sequence[str],
    stride: int | None = None,
) -> Network:
    """Load a trained network for inference.

    Args:
        path: The file, as `save_weights` wrote it.
        build: A function from the number of classes and the configuration to a network.
        kind: The section that describes the network.
        classes: The classes that the network must have been trained for.
        stride: The stride of the backbone, if it differs from that of the training.

    Raises:
        ConfigError: The file is missing or damaged, or has other classes or another network.
    """
    cfg = read_config(path, kind, tuple(classes))
    if stride:
        backbone = cfg.backbone.model_copy(update={"stride": stride})
        cfg = cfg.model_copy(update={"backbone": backbone})
    network = build(len(classes), cfg)
    network.load_state_dict(_read_tensors(path))
    return network.eval()


def _read_tensors(path: Path) -> dict[str, Tensor]:
    """Read the tensors and verify their checksum; older files have none and are trusted.

    Raises:
        ConfigError: The file is missing or damaged.
    """
    said = dict(read_metadata(path))
    tensors = load_file(path)
    if said.pop(CHECKSUM, None) not in (None, _checksum(said, tensors)):
        raise ConfigError(
            f"{path}: damaged (checksum mismatch); get the file again, or train again"
        )
    return tensors


def _checksum(said: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> int:
    parts = {name: value.flatten().view(uint8).numpy().data for name, value in tensors.items()}
    return checksum({**parts, CHECKSUM: json.dumps(said).encode()})
