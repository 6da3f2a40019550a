"""Sections `pseudo_labels` and `crf`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from rca.config.section import Count, Fraction, Positive, Section


class PseudoLabels(Section):
    """Stage `pseudo_labels`, and the rules that `crf` applies again after refinement."""

    background: Literal["posterior", "threshold", "power", "saliency"] = Field(
        "threshold",
        description="Background score. With `readout.method: prototypes`, its `posterior`. With "
        "CAMs: the constant `threshold`; (1 - max CAM)^`power`; or 1 - saliency map (a cue beyond "
        "tags).",
    )
    threshold: Fraction = Field(0.25, description="Background score, with `threshold`.")
    power: Positive = Field(4.0, description="Exponent, with `power` (released code: 4).")
    uncertain_margin: Fraction = Field(
        0.0,
        description="Pixels whose best class leads or trails the background by less become 255.",
    )
    conflict_threshold: Fraction = Field(
        0.9, description="Two scores above this make a pixel 255 (released code: 0.9)."
    )
    uncertain_saliency: Fraction = Field(
        0.125,
        description="With `saliency`: background pixels at least this salient become 255 "
        "(released code: 32/255).",
    )
    confident_cam: Fraction = Field(
        0.8,
        description="With `saliency`: background pixels with a CAM above this become 255 (0.8).",
    )
    min_foreground: Fraction = Field(
        0.01, description="Images with a smaller foreground become all 255 (released code: 1 %)."
    )


class Crf(Section):
    """Stage `crf`: fully connected CRF (Krähenbühl & Koltun) over the CAMs' scores."""

    method: Literal["dense", "none"] = Field("dense", description="`none` passes labels through.")
    implementation: Literal["pydensecrf", "numba", "torch"] = Field(
        "pydensecrf",
        description="Who computes `dense`; all three give the same labels. `numba` is several "
        "times faster and needs the extra `numba`; `torch` is for a GPU, and works in a single "
        "process.",
    )
    max_side: int | None = Field(
        None,
        ge=16,
        description="Long side, in pixels, at which the CRF works: larger photographs are reduced "
        "to it, the kernels with them, and the posteriors enlarged again. It bounds time and "
        "memory. `null`: every photograph at its size.",
    )
    iterations: Count = 10
    gaussian_sxy: Positive = Field(3.0, description="Pixels (released code: 3).")
    gaussian_compat: Positive = 3.0
    bilateral_sxy: Positive = Field(80.0, description="Pixels (released code: 80).")
    bilateral_srgb: Positive = Field(13.0, description="Grey levels (released code: 13).")
    bilateral_compat: Positive = 10.0
    processes: int = Field(0, ge=0, description="Worker processes; 0 takes every core.")

    @property
    def workers(self) -> int:
        """Choose the number of worker processes: a single one where a GPU does the work."""
        return 1 if self.implementation == "torch" else self.processes
