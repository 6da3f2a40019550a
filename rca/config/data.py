"""Sections of the data: which images and classes, and how a training image is cut."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from rca.config.section import Count, Fraction, Range, Section


class IndexSection(Section):
    """Which images and classes take part."""

    classes: list[str] | None = Field(
        None,
        min_length=1,
        description="Subset of the data set's classes, in this order; pixels of the others are "
        "ignored (255) and their tags dropped. `null` takes all.",
    )
    train_list: str = Field("train", description="ImageSets list of the training images.")
    val_list: str = Field("val", description="ImageSets list of the validation images.")
    untagged: Literal["drop", "keep"] = Field(
        "drop",
        description="Training images without a tag of the classes: left out, as the field does "
        "with COCO's, or kept, to teach the classifier what its classes are not. Nobody says what "
        "is in them, so their label maps are 255 everywhere.",
    )
    limit: Count | None = Field(
        None, description="Only the first so many images of each list, for quick trials."
    )


class View(Section):
    """How a training image is cut to a tensor."""

    mode: Literal["square", "crop"] = Field(
        "square",
        description="`square`: the whole image resized to size × size, aspect distorted (paper). "
        "`crop`: short side to size × scale, then a random size × size crop.",
    )
    size: Count = Field(368, description="Side of the input in pixels (paper: 368).")
    scale: Range = Field((1.0, 1.0), description="Range of the random scale, with `crop`.")
    flip: bool = Field(False, description="Random horizontal flip (paper: no).")
    jitter: Fraction = Field(
        0.3, description="Strength of brightness, contrast and saturation jitter (paper: 0.3)."
    )
    hue: Annotated[float, Field(ge=0, le=0.5)] = Field(
        0.1, description="Strength of the hue jitter, in turns (paper: 0.1)."
    )
