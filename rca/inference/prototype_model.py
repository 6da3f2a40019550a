"""The prototypes of a run, ready for photographs: masks without a segmentation network.

The classification network says which classes a photograph holds, and the prototypes of these
classes and of the background give the posterior of each pixel, as stage `readout` does for
validation images. The CRF refines it, as stage `crf` does for training images.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from rca.config import Compute, ConfigError, Crf, InferCam, Readout, Section, TrainCam, load
from rca.config.section import Count
from rca.data.views import normalised
from rca.inference.decision import Scored
from rca.inference.photograph_model import PhotographModel
from rca.inference.photographs import reduced
from rca.inference.settings import MAX_PIXELS, checked, crf_in_use, palette_of, protocol_of
from rca.labels.scores import posterior_scores, upsample_cams
from rca.method.readout import label_posterior, pixel_directions
from rca.models.backbones import Backbone
from rca.models.cam_network import CamNetwork
from rca.models.device import prepare
from rca.models.features import block_features
from rca.models.found_classes import predicted_classes
from rca.models.inference import for_inference
from rca.models.weights import load_network, read_metadata
from rca.readout.fitted import PROTOTYPES, Fitted, read_fitted

log = logging.getLogger(__name__)


class PrototypeSettings(Section):
    """The sections of the run that a mask from prototypes depends on."""

    infer_cam: InferCam
    readout: Readout
    crf: Crf = Crf()
    max_pixels: Count | None = MAX_PIXELS


@dataclass(frozen=True)
class PrototypeModel(PhotographModel):
    """The prototypes of a run with the networks that they need.

    Attributes:
        network: The classification network, which finds the classes.
        backbone: The backbone whose features the prototypes are compared with.
        fitted: The prototypes.
        settings: The settings by which photographs are segmented.
    """

    network: CamNetwork
    backbone: Backbone
    fitted: Fitted
    settings: PrototypeSettings

    @property
    def refining(self) -> Crf | None:
        """The CRF that refines its masks, or None."""
        return self.settings.crf if self.settings.crf.method == "dense" else None

    def described(self) -> dict[str, Any]:
        """Return the settings that determine its masks, as JSON."""
        return {
            "infer_cam": self.settings.infer_cam.model_dump(mode="json"),
            "readout": self.settings.readout.model_dump(mode="json"),
            "crf": crf_in_use(self.refining),
            "max_pixels": self.settings.max_pixels,
        }

    def score(self, image: Image.Image) -> Scored:
        """Compute the posterior of the background and of each class that the photograph holds."""
        small = reduced(image, self.settings.max_pixels)
        pixels = normalised(small).to(self.device)
        final_maps, infer_cam = self.network.final_maps, self.settings.infer_cam
        present = predicted_classes(final_maps, pixels, infer_cam).bool().cpu()
        cfg = self.settings.readout
        assert cfg.blocks  # `load_prototypes` fills them in
        blocks = block_features(self.backbone, pixels, cfg.blocks, cfg.sizes)
        features = torch.cat(blocks).movedim(0, -1).half().cpu()
        posterior = label_posterior(
            pixel_directions(features, self.fitted.means, [len(block) for block in blocks]),
            self.fitted.prototypes,
            self.fitted.valid,
            present,
            cfg.temperature,
            cfg.background_weight,
        )
        maps = posterior[..., 1:][..., present].movedim(-1, 0).numpy()
        scores = posterior_scores(upsample_cams(maps, small.height, small.width))
        labels = np.array([0, *(present.nonzero()[:, 0] + 1)], np.uint8)
        return Scored(np.asarray(small), scores, (image.height, image.width), labels)


def is_readout(weights: Path) -> bool:
    """Return whether a path is the folder of stage `readout`, or its file of prototypes."""
    return weights.name == PROTOTYPES or (weights / PROTOTYPES).is_file()


def load_prototypes(
    readout: Path,
    *,
    params: Path | None = None,
    crf: bool | Crf | None = None,
    max_pixels: int | None = None,
    device: str = "auto",
    threads: int | None = None,
) -> PrototypeModel:
    """Load the prototypes of a run, and the classification network that they were fitted with.

    Args:
        readout: The folder `results/<experiment>/readout`, or the file of prototypes in it.
        params: The parameter file whose sections `infer_cam`, `readout` and `crf` are used; None
            uses those by which the run was evaluated.
        crf: Whether to refine by the dense CRF; a `Crf` refines with its settings; None does as the
            run does with its pseudo-labels.
        max_pixels: The number of pixels that larger photographs are reduced to; 0 is no limit.
        device: The device: `auto`, `cpu` or `cuda`.
        threads: The number of torch's CPU threads; None leaves it as it is.

    Raises:
        ConfigError: A file is missing or damaged, or the settings are unknown.
    """
    file = readout if readout.name == PROTOTYPES else readout / PROTOTYPES
    run = file.absolute().parents[1]
    weights = run / "train_cam" / "weights.safetensors"
    classes = tuple(read_metadata(weights)["classes"])
    settings = _settings(run, params, crf, max_pixels)
    threads = torch.get_num_threads() if threads is None else threads
    where = prepare(checked(Compute, {"device": device, "threads": threads}))
    strides = settings.infer_cam.network_stride, settings.readout.network_stride
    networks = {  # one, unless the classes are found at another stride than the features are read
        stride: for_inference(load_network(weights, CamNetwork, TrainCam, classes, stride), where)
        for stride in set(strides)
    }
    finding, reading = (networks[stride] for stride in strides)
    blocks = sorted(settings.readout.blocks or [len(reading.backbone) - 1])
    filled = settings.readout.model_copy(update={"blocks": blocks})
    settings = settings.model_copy(update={"readout": filled})
    return PrototypeModel(
        classes,
        palette_of(run, list(classes)),
        where,
        (file, weights),
        network=finding,
        backbone=reading.backbone,
        fitted=read_fitted(file.parent, "run `rca readout` again"),
        settings=settings,
    )


def _settings(
    run: Path, params: Path | None, crf: bool | Crf | None, max_pixels: int | None
) -> PrototypeSettings:
    if params:
        given = load(params)
        origin, values = (
            params,
            {name: getattr(given, name).model_dump() for name in ("infer_cam", "readout", "crf")},
        )
    else:
        scores, protocol = protocol_of(run)
        if "cam_inference" not in protocol:
            raise ConfigError(
                f"{scores}: does not say how the run read its maps; run `rca evaluate` first, or "
                "give --params"
            )
        origin = scores or run
        chosen = {"settings_chosen_on"}  # of the protocol, no setting
        values = {
            "infer_cam": protocol["cam_inference"],
            "readout": {k: v for k, v in protocol["readout"].items() if k not in chosen},
            "crf": protocol.get("crf", {"method": "none"}),
        }
    log.info("prototypes with the settings from %s", origin)
    if isinstance(crf, Crf):
        values["crf"] = crf.model_dump()
    elif crf is not None:
        values["crf"]["method"] = "dense" if crf else "none"
    if max_pixels is not None:
        values["max_pixels"] = max_pixels or None
    return checked(PrototypeSettings, values, Path(origin))
