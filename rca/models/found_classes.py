"""The classes that a classification network finds in an image without tags."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from rca.config import InferCam
from rca.method.cams import image_scores
from rca.models.multiscale import multiscale


def predicted_classes(
    final_maps: Callable[[Tensor], Tensor], image: Tensor, cfg: InferCam
) -> Tensor:
    """Predict the classes in an image, as float32 (C,) of 0 and 1.

    These are the classes with a probability of at least `cfg.presence`, and the most probable one.

    Args:
        final_maps: A function from normalised images to their final maps, (B, C, h, w).
        image: The normalised image, (3, H, W).
        cfg: The size, the flip and the probability.
    """
    scores = multiscale(
        lambda view: image_scores(final_maps(view))[..., None, None],
        image,
        short_side=cfg.size,
        scales=[1.0],
        flip=cfg.flip,
        output=(1, 1),
    )[:, 0, 0]  # (C,)
    return ((scores.sigmoid() >= cfg.presence) | (scores == scores.max())).float()
