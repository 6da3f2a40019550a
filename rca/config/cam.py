"""Sections `train_cam` and `infer_cam`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from rca.config.data import View
from rca.config.method import Aggregation, Attention, Contrast, Memory
from rca.config.section import Count, Fraction, Positive, Section
from rca.config.training import Backbone, Optimiser


class Head(Section):
    """The class-aware convolutions F_CAM: `depth` × (3×3 conv + ReLU), then 1×1 to the classes."""

    depth: int = Field(
        3,
        ge=0,
        description="Hidden 3×3 convolutions (code: 3; the paper's text can be read as 0).",
    )
    width: Count = Field(512, description="Channels of the hidden convolutions (code: 512).")


class TrainCam(Section):
    """Stage `train_cam`: the classification network with RSC and RSA."""

    epochs: Count = Field(30, description="Passes over the training images (paper: 30).")
    batch_size: Count = Field(8, description="Images a step (paper: 8).")
    auxiliary_weight: float = Field(
        0.4, ge=0, description="Weight of the coarse CAM's classification loss (paper: 0.4)."
    )
    view: View = View()
    backbone: Backbone = Backbone()
    head: Head = Head()
    optimiser: Optimiser = Optimiser()
    memory: Memory = Memory()
    rsc: Contrast = Contrast()
    rsa: Aggregation = Aggregation()
    attention: Attention = Attention()

    @model_validator(mode="after")
    def _background_is_remembered(self) -> TrainCam:
        for key, asked in (
            ("rsc.background_queries", self.rsc.background_queries),
            ("rsa.background", self.rsa.background),
        ):
            if asked and not self.memory.background:
                raise ValueError(f"`{key}` needs a memory of the background: `memory.background`")
        return self


class InferCam(Section):
    """Stage `infer_cam`: class activation maps of every image, at several scales."""

    training_maps: Literal["network", "accumulated"] = Field(
        "network",
        description="CAMs of the training images: what the trained network says of them "
        "(supplement, Alg. 3); or what training has accumulated, `train_cam.attention` (code).",
    )
    size: Count = Field(368, description="Short side of the image at scale 1, in pixels.")
    scales: list[Positive] = Field([0.5, 1.0, 1.5, 2.0], min_length=1)
    flip: bool = True
    network_stride: Literal[8, 16, 32] | None = Field(
        None,
        description="Stride of the network at inference; a lower one than in training dilates the "
        "same weights to finer maps. `null` keeps the training's.",
    )
    presence: Fraction = Field(
        0.5,
        description="Probability from which a class counts as present in a validation image, whose "
        "tags are not used; the most probable class always does.",
    )
    stride: Count = Field(4, description="Image pixels per stored CAM pixel.")
    bits: Literal[8, 16] = Field(8, description="Bits of a stored CAM value.")
    shard_size: Count = Field(256, description="Images per file of the CAM store.")
