"""A trained segmentation network, ready for photographs: `rca.load`."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import overload

import numpy as np
import torch
from PIL import Image
from torch import nn

from rca.config import Compute, ConfigError, Crf, TrainSeg
from rca.inference.addresses import local
from rca.inference.decision import Scored, decide
from rca.inference.photographs import as_photograph, reduced
from rca.inference.probabilities import Network, class_probabilities
from rca.inference.result import Result
from rca.inference.settings import Settings, changed, checked, in_words, settings_for
from rca.models.deeplab import DeepLab
from rca.models.device import placed, prepare
from rca.models.weights import load_network, read_config, read_metadata, save_weights

log = logging.getLogger(__name__)

Photograph = Image.Image | np.ndarray | str | Path
WEIGHTS = "weights.safetensors"
HUB_WEIGHTS = "model.safetensors"  # the name that the Hugging Face Hub expects


@dataclass(frozen=True)
class SegmentationModel:
    """A network with all that a mask depends on.

    Attributes:
        network: normalised images (B, 3, H, W) → logits (B, C + 1, H, W), on `device`.
        classes: C names without the background; label i is the i-th.
        cfg: section `train_seg` of its training.
        settings: how photographs are segmented.
        palette: uint8 (256, 3), label → colour.
        device: where it computes.
        weights: the file that it was loaded from.
    """

    network: Network
    classes: tuple[str, ...]
    cfg: TrainSeg
    settings: Settings
    palette: np.ndarray
    device: torch.device
    weights: Path

    # A path is a sequence of strings as well; it is taken for a photograph.
    @overload
    def predict(self, image: Photograph) -> Result: ...  # type: ignore[overload-overlap]

    @overload
    def predict(self, image: Sequence[Photograph]) -> list[Result]: ...

    def predict(self, image: Photograph | Sequence[Photograph]) -> Result | list[Result]:
        """Segment a photograph, or each of several.

        Args:
            image: a PIL image, uint8 (H, W, 3) in RGB, or the path of a file. What EXIF says of a
                photograph's orientation is obeyed.

        Raises:
            DataError: a file cannot be read, or an image is not fit to be segmented.
        """
        if not isinstance(image, Photograph):
            return [self.predict(one) for one in image]
        scored = self.score(as_photograph(image))
        decision = decide(scored, self.settings.refining)
        return Result(*decision, self.classes, self.palette, scored.pixels)

    def score(self, image: Image.Image) -> Scored:
        """The class probabilities of an upright RGB photograph, at the size they are computed at.

        Raises:
            DataError: it is not fit to be segmented.
        """
        small = reduced(image, self.settings.max_pixels)
        probabilities = class_probabilities(
            self.network, small, self.settings.infer_seg, self.device
        )
        return Scored(np.asarray(small), probabilities, (image.height, image.width))

    def save(self, path: str | Path) -> None:
        """Write network, settings and colours to one file, which `rca.load` reads anywhere."""
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
    wrote it; else from the evaluation of the run that the weights lie in; else from the size of the
    training's views, with flips and without a CRF (see `rca.inference.settings`).

    Args:
        weights: `weights.safetensors` of stage `train_seg`, its folder, or a folder
            `results/<experiment>`, whose network of pseudo-labels is taken; a folder of
            `rca export --format huggingface`; or the address of a model in MLflow, such as
            `runs:/<run>/segmentation` or `models:/<name>@champion`.
        params: parameter file whose sections `infer_seg` and `crf` to use.
        size: short side of the image at scale 1, in pixels.
        scales: factors on `size`; the probabilities are averaged.
        flip: average with the mirrored image, too.
        crf: refine by the dense CRF, with these settings if they are given.
        max_pixels: work on larger photographs at this many pixels; 0 is no limit.
        device: `auto`, `cpu` or `cuda`.
        threads: CPU threads of torch; None leaves them as they are.

    Raises:
        ConfigError: the weights or a setting cannot be used; the message says why.
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
    return SegmentationModel(network, classes, cfg, settings, known.palette, where, path)


def _file(weights: Path) -> Path:
    """The file that `weights`, itself or a folder, means."""
    pseudo = weights / "train_seg" / "pseudo"
    served = weights / "artifacts" / WEIGHTS  # of a model that MLflow keeps
    places = [weights, weights / WEIGHTS, pseudo / WEIGHTS, weights / HUB_WEIGHTS, served]
    for place in places:
        if place.is_file():
            return place
    what = f"holds no {WEIGHTS}" if weights.is_dir() else "no such file"
    raise ConfigError(
        f"{weights}: {what}; give that of stage train_seg, "
        "such as results/<experiment>/train_seg/pseudo"
    )
