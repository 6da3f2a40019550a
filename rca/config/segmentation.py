"""Sections `train_seg` and `infer_seg`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from rca.config.data import View
from rca.config.section import Count, Positive, Section
from rca.config.training import Backbone, Optimiser


class TrainSeg(Section):
    """Stage `train_seg`: a DeepLab network on the refined pseudo-labels."""

    supervisions: list[Literal["pseudo", "truth"]] = Field(
        ["pseudo"],
        min_length=1,
        description="`pseudo`: the refined labels. `truth`: the true masks, as an upper bound.",
    )
    head: Literal["deeplab_v2", "large_fov", "deeplab_v3"] = "deeplab_v2"
    epochs: Count = 30
    batch_size: Count = 8
    balanced: bool = Field(
        False,
        description="Weigh the background's pixels together as much as the classes' together. "
        "Against networks that call everything background where labels are few and noisy.",
    )
    view: View = View(mode="crop", size=321, scale=(0.5, 1.5), flip=True, jitter=0.0, hue=0.0)
    backbone: Backbone = Backbone(name="resnet101")
    optimiser: Optimiser = Optimiser(lr=2.5e-4, schedule="poly")


class InferSeg(Section):
    """Stage `infer_seg`: masks of the validation images."""

    size: Count = Field(321, description="Short side of the image at scale 1, in pixels.")
    scales: list[Positive] = Field([0.75, 1.0, 1.25], min_length=1)
    flip: bool = True
    crf: bool = Field(
        False, description="Refine the network's probabilities by the CRF of section `crf`."
    )
