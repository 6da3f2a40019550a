"""The method's switches, in `train_cam`: RSC, its memory, RSA, and the accumulation of attention.

Where the paper's text, its supplement and the released code part ways, a key has a value for each.
The defaults are the paper's; "code" in a description is what the released code does.
docs/explanation/method.md says of every key which equation it belongs to, and which test tells its
values apart.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from rca.config.section import Count, Fraction, Positive, Section


class Contrast(Section):
    """RSC: regional semantic contrast, Eqs. 1, 2 and 4 to 6."""

    enabled: bool = True
    weight: float = Field(0.01, ge=0, description="Weight of the loss (code: 0.01).")
    start_epoch: int = Field(2, ge=0, description="First epoch with the loss, 0-based (code: 2).")
    temperature: Positive = Field(0.07, description="t of Eq. 4 (code: 0.07).")
    beta: Positive = Field(8.0, description="Shape of Beta(β, β) in Eq. 5 (code: 8).")
    region_rule: Literal["softmax_mean", "sigmoid_mean", "max_fraction"] = Field(
        "softmax_mean",
        description="How a coarse map becomes a pseudo-region, Eq. 1: above its mean after a "
        "softmax over the classes (code; the paper says `binarised`) or after a sigmoid; or above "
        "`region_fraction` of its maximum.",
    )
    region_fraction: Fraction = Field(0.3, description="Level of `max_fraction`.")
    confident_share: Fraction = Field(
        1.0,
        gt=0,
        description="Share of a region's pixels, those with the highest coarse map, that is pooled "
        "for queries and memory (paper and code: all).",
    )
    query_gate: Fraction = Field(
        0.0,
        description="A region is contrasted if its class scores above this (paper and code: all "
        "tagged classes' are). `memory.gate` is the memory's.",
    )
    background_queries: bool = Field(
        False,
        description="Regions of the background are contrasted as well, with the rows of their own "
        "memory as positives; needs `memory.background` (paper and code: false).",
    )
    query: Literal["features", "head"] = Field(
        "features",
        description="What the query of a region is pooled from: F, as the memory's rows "
        "(supplement); or F behind two 3×3 convolutions of its own (code).",
    )
    projection: Literal["none", "linear", "nonlinear"] = Field(
        "none",
        description="Head that mixed regions and the memory's rows go through before they are "
        "compared: a linear layer, or two with a ReLU between (paper and code: none).",
    )
    projection_width: Count = Field(128, description="Channels behind the projection.")
    partner: Literal["other_class", "other_image", "any"] = Field(
        "other_class",
        description="Mixed with a region of another class (paper: l' ≠ l), of another class in "
        "another image, or of any (code).",
    )
    normalise_first: bool = Field(
        False, description="Unit length before mixing too (paper and code: only after)."
    )
    exclude_partner: bool = Field(
        False,
        description="The partner's class gives no negatives (paper and code: it does).",
    )
    form: Literal["paper", "supcon", "clamped"] = Field(
        "paper",
        description="Denominator of Eq. 4: one positive and all negatives (paper); all positives "
        "too; or the paper's, not below 1e-4 of the largest term (code).",
    )
    sum_images: bool = Field(
        False,
        description="L_rsc is the mean over all regions (supplement), or the sum over images of "
        "the means over theirs, which grows with the batch (code: true).",
    )


class Memory(Section):
    """The memory of class regions M, Eq. 3."""

    slots: Count = Field(500, description="Regions kept per class (supplement and code: 500).")
    start_epoch: int = Field(0, ge=0, description="First epoch that memorises, 0-based (code: 0).")
    gate: Fraction = Field(
        0.7, description="A region enters if its class scores above this (code: 0.7)."
    )
    update: Literal["fifo", "ema", "slot_ema", "image_ema"] = Field(
        "fifo",
        description="A region overwrites the oldest; or is blended into it; or is blended into "
        "slots that start as noise and count as regions (code); or is blended into the entry of "
        "its own image, the first of which is a copy (paper).",
    )
    momentum: Fraction = Field(
        0.99, description="Share of the old entry in a blend; `fifo` has none (code: 0.99)."
    )
    background: bool = Field(
        False,
        description="Regions that no tagged class claims have a memory too. Its rows are negatives "
        "of every class (paper and code: false).",
    )
    background_level: Fraction = Field(
        0.3,
        description="The background's region: outside the classes' regions, and where the map of "
        "each tagged class is below this share of its maximum.",
    )
    pooling: Literal["independent", "sequential"] = Field(
        "independent",
        description="Features of each region by itself, Eq. 2; or masked by the image's classes "
        "before, one after the other (code).",
    )


class Aggregation(Section):
    """RSA: regional semantic aggregation over prototypes, Eqs. 7 to 10."""

    enabled: bool = True
    prototypes: Count = Field(10, description="K per class (code: 10).")
    prototype_rule: Literal["kmeans", "rows", "noise"] = Field(
        "kmeans",
        description="Centroids of each class's memory (paper). Controls without clusters: rows of "
        "the memory at random slots, or noise as strong as the rows, drawn once.",
    )
    start_epoch: int = Field(
        1, ge=0, description="First epoch that refits the prototypes, 0-based (code: 1)."
    )
    attention: Literal["non_parametric", "parametric"] = Field(
        "non_parametric",
        description="softmax(F·Qᵀ)·Q (paper); or learned projections and no softmax (code).",
    )
    scale: Literal["one", "rsqrt_dim", "cosine"] = Field(
        "one",
        description="With `non_parametric`, the factor on F·Qᵀ in Eq. 7: 1 (paper), 1/√D, or "
        "cosine/temperature. The code's, with `parametric`, is C/K.",
    )
    temperature: Positive = Field(0.07, description="Temperature of the `cosine` scale.")
    background: bool = Field(
        False,
        description="Prototypes of the background too, from its memory: needs `memory.background` "
        "(paper and code: false).",
    )
    null_prototype: bool = Field(
        False,
        description="With `non_parametric`, one more prototype, at the origin, for pixels like "
        "none (paper and code: none).",
    )
    heads: Literal["shared", "per_class"] = Field(
        "shared",
        description="One final head for all classes (supplement); or a 1×1 convolution from 2D "
        "to D channels and a head for each class (code), C times the weights.",
    )


class Attention(Section):
    """OAA: online accumulation of the training images' maps, and OAA++'s drop layer."""

    accumulate: bool = Field(
        False,
        description="Keep the pixelwise maximum of each training image's final maps over the "
        "epochs (code: true); `infer_cam.training_maps` says whether they become its CAMs.",
    )
    start_epoch: int = Field(
        1, ge=0, description="First epoch that accumulates, 0-based (code: 1)."
    )
    gate: Fraction = Field(
        0.1, description="Maps of classes that score below this are skipped (code: 0.1)."
    )
    fill_missing: bool = Field(
        True, description="In the last epoch, take such maps where there is none (code: true)."
    )
    size: Count = Field(46, description="Side of the accumulated maps in cells (code: 46).")
    drop: bool = Field(
        False,
        description="OAA++: erase from a view what the accumulated maps hold (not in the code).",
    )
    drop_threshold: Fraction = Field(
        0.6, description="Erased where a map is above this (OAA's code: 0.6)."
    )
    drop_probability: Fraction = Field(
        0.5, description="Share of the views that are erased from (OAA's code: 0.5)."
    )

    @model_validator(mode="after")
    def _drops_what_is_there(self) -> Attention:
        if self.drop and not self.accumulate:
            raise ValueError("`drop` erases accumulated attention: set `accumulate` too")
        return self
