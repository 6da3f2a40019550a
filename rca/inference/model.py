"""A trained segmentation network, ready for photographs."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import nn

from rca.config import Compute, ConfigError, Crf, TrainSeg
from rca.inference.addresses import local
from rca.inference.decision import Scored
from rca.inference.onnx_network import SUFFIX, OnnxNetwork
from rca.inference.photograph_model import PhotographModel
from rca.inference.photographs import reduced
from rca.inference.probabilities import Network, class_probabilities
from rca.inference.settings import (
    Settings,
    changed,
    checked,
    crf_in_use,
    in_words,
    settings_for,
)
from rca.models.deeplab import DeepLab
from rca.models.device import placed, prepare
from rca.models.inference import for_inference
from rca.models.weights import load_network, read_config, read_metadata, save_weights

log = logging.getLogger(__name__)

WEIGHTS = "weights.safetensors"
HUB_WEIGHTS = "model.safetensors"  # the name that the Hugging Face Hub expects


@dataclass(frozen=True)
class SegmentationModel(PhotographModel):
    """A segmentation network with everything that a mask depends on.

    Attributes:
        network: The network: normalised images (B, 3, H, W) → logits (B, C + 1, H, W), on `device`;
            a `DeepLab`, or an `OnnxNetwork`.
        cfg: The section `train_seg` of its training.
        settings: The settings by which photographs are segmented.
    """

    network: Network
    cfg: TrainSeg
    settings: Settings

    @property
    def refining(self) -> Crf | None:
        """The CRF that refines its masks, or None."""
        return self.settings.refining

    def described(self) -> dict[str, Any]:
        """Return the settings that determine its masks, as JSON."""
        return {
            **self.settings.infer_seg.model_dump(mode="json", exclude={"crf"}),
            "crf": crf_in_use(self.refining),
            "max_pixels": self.settings.max_pixels,
            **(self.network.described() if isinstance(self.network, OnnxNetwork) else {}),
        }

    @cached_property
    def inferring(self) -> Network:
        """The network as it infers fastest."""
        if not isinstance(self.network, nn.Module):
            return self.network
        return for_inference(self.network, self.device)

    def score(self, image: Image.Image) -> Scored:
        """Compute the class probabilities of an upright RGB photograph, at most at `max_pixels`."""
        small = reduced(image, self.settings.max_pixels)
        probabilities = class_probabilities(
            self.inferring, small, self.settings.infer_seg, self.device
        )
        return Scored(np.asarray(small), probabilities, (image.height, image.width))

    def save(self, path: str | Path) -> None:
        """Write network, settings and colours to one self-contained file for `rca.load`.

        Raises:
            ConfigError: The network is an ONNX file, which holds all of this already.
        """
        if not isinstance(self.network, nn.Module):
            raise ConfigError(f"{self.files[0]}: holds network, settings and colours; copy it")
        save_weights(
            Path(path),
            self.network,
            self.classes,
            self.cfg,
            inference=self.settings.model_dump(mode="json"),
            palette=self.palette.tolist(),
        )


def load(
    weights: str | Path,
    params: Path | None = None,
    *,
    device: str = "auto",
    threads: int | None = None,
    **given: Any,
) -> SegmentationModel:
    """Load a trained segmentation network; `rca.load` documents the arguments and their defaults.

    Args:
        weights: The trained network.
        params: The parameter file with the settings of inference.
        device: The device: `auto`, `cpu` or `cuda`.
        threads: The number of torch's CPU threads; None leaves it as it is.
        given: The settings that replace the known ones, as `rca.inference.settings.changed` takes
            them.

    Raises:
        ConfigError: The weights or a setting cannot be used; the message says why.
    """
    path = _file(local(weights))
    threads = torch.get_num_threads() if threads is None else threads
    compute = checked(Compute, {"device": device, "threads": threads})
    opened = (_open_onnx if path.suffix == SUFFIX else _open_weights)(path, compute)
    known = settings_for(path, opened.metadata, opened.cfg, params)
    settings = changed(known.settings, **given)
    log.info("%s; from %s", in_words(settings), known.origin)
    if isinstance(opened.network, OnnxNetwork):
        opened.network.require_size(settings.infer_seg.size, settings.infer_seg.scales)
    return SegmentationModel(
        tuple(opened.metadata["classes"]),
        known.palette,
        opened.device,
        (path,),
        network=opened.network,
        cfg=opened.cfg,
        settings=settings,
    )


class _Opened(NamedTuple):
    """A network, on its device, with what its file says of it."""

    network: Network
    device: torch.device
    metadata: Mapping[str, Any]
    cfg: TrainSeg


def _open_weights(path: Path, compute: Compute) -> _Opened:
    metadata = read_metadata(path)
    classes = tuple(metadata["classes"])
    cfg = read_config(path, TrainSeg, classes)
    device = prepare(compute)
    network = placed(load_network(path, DeepLab, TrainSeg, classes), device)
    return _Opened(network, device, metadata, cfg)


def _open_onnx(path: Path, compute: Compute) -> _Opened:
    if compute.device == "cuda":
        raise ConfigError(f"{path}: ONNX files run on the CPU here; leave the device to auto")
    network = OnnxNetwork(path, compute.threads)
    metadata = network.metadata()
    cfg = checked(TrainSeg, metadata["config"], path)
    return _Opened(network, prepare(compute.model_copy(update={"device": "cpu"})), metadata, cfg)


def _file(weights: Path) -> Path:
    """Return the file that `weights` means, which may be the file itself or a folder."""
    pseudo = weights / "train_seg" / "pseudo"
    served = weights / "artifacts" / WEIGHTS  # in a model from MLflow
    places = [weights, weights / WEIGHTS, pseudo / WEIGHTS, weights / HUB_WEIGHTS, served]
    for place in places:
        if place.is_file():
            return place
    what = f"holds no {WEIGHTS}" if weights.is_dir() else "no such file"
    raise ConfigError(
        f"{weights}: {what}; give that of stage train_seg, "
        "such as results/<experiment>/train_seg/pseudo"
    )
