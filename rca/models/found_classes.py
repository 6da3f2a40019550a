"""The classes that a classification network finds in an image without tags."""

from __future__ import annotations

from torch import Tensor

from rca.config import InferCam
from rca.method.cams import image_scores
from rca.models.cam_network import CamNetwork
from rca.models.multiscale import multiscale


def predicted_classes(network: CamNetwork, image: Tensor, cfg: InferCam) -> Tensor:
    """Predict the classes in an image, (3, H, W), as float32 (C,) of 0 and 1.

    These are the classes with a probability of at least `cfg.presence`, and the most probable one.
    """
    scores = multiscale(
        lambda view: image_scores(network(view).final)[..., None, None],
        image,
        short_side=cfg.size,
        scales=[1.0],
        flip=cfg.flip,
        output=(1, 1),
    )[:, 0, 0]  # (C,)
    return ((scores.sigmoid() >= cfg.presence) | (scores == scores.max())).float()
