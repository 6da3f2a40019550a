"""A trained segmentation network, ready for photographs."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import nn

from rca.config import Compute, ConfigError, Crf, TrainSeg
from rca.inference.addresses import local
from rca.inference.decision import Scored
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
        network: The network: normalised images (B, 3, H, W) → logits (B, C + 1, H, W), on `device`.
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
        }

    @cached_property
    def inferring(self) -> Network:
        """The network as it infers fastest."""
        assert isinstance(self.network, nn.Module)  # as `load` makes it
        return for_inference(self.network, self.device)

    def score(self, image: Image.Image) -> Scored:
        """Compute the class probabilities of an upright RGB photograph, at most at `max_pixels`."""
        small = reduced(image, self.settings.max_pixels)
        probabilities = class_probabilities(
            self.inferring, small, self.settings.infer_seg, self.device
        )
        return Scored(np.asarray(small), probabilities, (image.height, image.width))

    def save(self, path: str | Path) -> None:
        """Write network, settings and colours to one self-contained file for `rca.load`."""
        assert isinstance(self.network, nn.Module)  # as `load` makes it
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
    *,
    params: str | Path | None = None,
    size: int | None = None,
    scales: Sequence[float] | None = None,
    flip: bool | None = None,
    crf: bool | Crf | None = None,
    max_pixels: int | None = None,
    device: str = "auto",
    threads: int | None = None,
) -> SegmentationModel:
    """Load a trained segmentation network.

    Settings that are not given come from `params`; else from the file, if `SegmentationModel.save`
    wrote it; else from the evaluation of the run that the weights belong to; else from the size of
    the training's views, with flips and without a CRF (see `rca.inference.settings`).

    Args:
        weights: The trained network: `weights.safetensors` of stage `train_seg`; its folder; a
            folder `results/<experiment>`, whose network trained on pseudo-labels is taken; a folder
            from `rca export --format huggingface`; or the address of a model in MLflow, such as
            `runs:/<run>/segmentation` or `models:/<name>@champion`.
        params: The parameter file whose sections `infer_seg` and `crf` are used.
        size: The short side of the image at scale 1, in pixels.
        scales: The factors on `size`; the probabilities are averaged.
        flip: Whether to average with the mirrored image, too.
        crf: Whether to refine by the dense CRF; a `Crf` refines with its settings.
        max_pixels: The number of pixels that larger photographs are reduced to; 0 is no limit.
        device: The device: `auto`, `cpu` or `cuda`.
        threads: The number of torch's CPU threads; None leaves it as it is.

    Raises:
        ConfigError: The weights or a setting cannot be used; the message says why.
    """
    path = _file(local(weights))
    metadata = read_metadata(path)
    classes = tuple(metadata["classes"])
    cfg = read_config(path, TrainSeg, classes)
    known = settings_for(path, metadata, cfg, Path(params) if params else None)
    settings = changed(
        known.settings, size=size, scales=scales, flip=flip, crf=crf, max_pixels=max_pixels
    )
    log.info("%s; from %s", in_words(settings), known.origin)
    threads = torch.get_num_threads() if threads is None else threads
    where = prepare(checked(Compute, {"device": device, "threads": threads}))
    network = load_network(path, DeepLab, TrainSeg, classes)
    network = placed(network, where)
    return SegmentationModel(
        classes, known.palette, where, (path,), network=network, cfg=cfg, settings=settings
    )


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
