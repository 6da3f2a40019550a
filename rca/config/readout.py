"""Section `readout`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from rca.config.section import Count, Fraction, Positive, Section


class Readout(Section):
    """Stage `readout`: class maps from prototypes of classes and background (beyond the paper)."""

    method: Literal["prototypes", "cams"] = Field(
        "cams",
        description="`prototypes`: posteriors of the classes and the background, from prototypes "
        "fitted to the training images' regions. `cams`: the CAMs as they are (paper).",
    )
    blocks: list[Annotated[int, Field(ge=0)]] | None = Field(
        None,
        min_length=1,
        description="Blocks of the CAM network's backbone whose features are compared with the "
        "prototypes, 0-based; `null` takes the last.",
    )
    sizes: list[Count] = Field(
        [240],
        min_length=1,
        description="Short sides of the image in pixels. The features of all sizes are "
        "concatenated, at the resolution of the largest.",
    )
    network_stride: Literal[8, 16, 32] | None = Field(
        None, description="Stride of the network; `null` keeps the training's."
    )
    start: Literal["cams", "rsa"] = Field(
        "cams",
        description="Regions of the first round: the CAMs', or those that RSA's own prototypes of "
        "classes and background read, which needs `train_cam.rsa.background` and the last block.",
    )
    prototypes: Count = Field(
        4, description="Prototypes of each class in the last round; the rounds before take one."
    )
    background_prototypes: Count = Field(24, description="Prototypes of the background.")
    temperature: Positive = Field(
        0.07, description="Divides the cosine similarities, as in RSC and RSA (paper: 0.07)."
    )
    background_weight: Positive = Field(
        3.0, description="Prior odds of the background against one class, at every pixel."
    )
    rounds: Count = Field(5, description="Fits of the prototypes, each to the regions before.")
    cam_foreground: Fraction = Field(
        0.5, description="First round: a class's region is where its CAM is highest and above this."
    )
    cam_background: Fraction = Field(
        0.08, description="First round: the background is where no CAM is above this."
    )
    level: Fraction = Field(
        0.9, description="Later rounds: a region is where the posterior is above this."
    )
    restarts: Count = Field(2, description="Runs of each k-means; the best one counts.")
    sample: Count = Field(8192, description="Pixels of a label that a k-means takes at most.")
    saliency: bool = Field(
        False,
        description="Take the training images' saliency maps as the prior probability that a pixel "
        "is foreground (a cue beyond tags).",
    )
    saliency_trust: Annotated[float, Field(ge=0, lt=1)] = Field(
        0.9, description="With `saliency`: 0 ignores the maps; near 1 they rule out what they deny."
    )
    memory_mb: Count = Field(
        400,
        description="Megabytes of features in memory at a time. Of data sets with more, the "
        "prototypes see a random sample of each image's pixels.",
    )
    shard_size: Count = Field(256, description="Images per file of the store.")

    @model_validator(mode="after")
    def _blocks_differ(self) -> Readout:
        if self.blocks and len(set(self.blocks)) < len(self.blocks):
            raise ValueError("`blocks` names a block twice")
        return self
