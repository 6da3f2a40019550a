"""Trained weights on disk: safetensors that say what network they are of."""

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

CHECKSUM = "checksum"  # of the tensors and of all else that the file says
Config = TypeVar("Config", TrainCam, TrainSeg)
Network = TypeVar("Network", bound=nn.Module)


def save_weights(
    path: Path, network: nn.Module, classes: Sequence[str], cfg: Section, **more: Any
) -> None:
    """Write the network's parameters and buffers, its class names and its configuration.

    What else the file should say of the network, `more`, must be fit for JSON.
    """
    tensors = {
        key: value.detach().cpu().contiguous() for key, value in network.state_dict().items()
    }
    said = {"classes": classes, "config": cfg.model_dump(mode="json"), **more}
    # One key: safetensors writes several in random order, and the bytes would differ.
    metadata = {"rca": json.dumps({**said, CHECKSUM: _checksum(said, tensors)})}
    with new_file(path) as partial:
        save_file(tensors, partial, metadata)


def read_metadata(path: Path) -> Mapping[str, Any]:
    """What the weights at `path` say of their network: `classes`, `config`, and maybe more.

    Raises:
        ConfigError: the file is missing or damaged, or says nothing.
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
    """The configuration that the weights at `path` were trained with.

    Its backbone's own weights are set to none: they are in the file.

    Raises:
        ConfigError: the file is missing or damaged, or is of other classes or another network.
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
    """The trained network at `path`, ready for inference.

    Args:
        path: as `save_weights` wrote it.
        build: number of classes and configuration → network.
        kind: the configuration's section.
        classes: that it must have been trained for.
        stride: of the backbone, if not that of the training.

    Raises:
        ConfigError: as `read_config`; or the file is not as it was written.
    """
    cfg = read_config(path, kind, tuple(classes))
    if stride:
        backbone = cfg.backbone.model_copy(update={"stride": stride})
        cfg = cfg.model_copy(update={"backbone": backbone})
    network = build(len(classes), cfg)
    network.load_state_dict(_read_tensors(path))
    return network.eval()


def _read_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors, held against the checksum; files of before there was one have none."""
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
