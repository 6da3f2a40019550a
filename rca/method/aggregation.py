"""RSA, regional semantic aggregation: every pixel attends to the prototypes (Eqs. 7-9)."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from rca.method.numerics import full_precision, unit

Scale = Literal["one", "rsqrt_dim", "cosine"]


@full_precision
def prototype_affinity(
    features: Tensor,
    prototypes: Tensor,
    valid: Tensor,
    scale: Scale,
    temperature: float,
    null: bool = False,
) -> Tensor:
    """S of Eq. 7: softmax(F Qᵀ) over all valid prototypes of all classes, at each pixel.

    Args:
        features: F, (B, D, H, W).
        prototypes: Q, (C, K, D); no gradient reaches them.
        valid: bool (C, K).
        scale: `one` as the paper, nearly one-hot at D = 512; `rsqrt_dim`, 1/√D as in attention;
            `cosine`, both normalised and divided by `temperature`.
        temperature: of `cosine`.
        null: one more prototype at the origin, so that a pixel like none of them (the background
            has no prototypes) takes nothing. Paper: no.

    Returns:
        (B, C·K, H, W), the sum over prototypes 1; below 1 with `null`; 0 with no valid prototype.

    Raises:
        ValueError: the scale is unknown, or channels do not fit.
    """
    flat = _flat(features, prototypes)
    if scale == "cosine":
        features, flat = unit(features.movedim(1, -1)).movedim(-1, 1), unit(flat)
    factors = {"one": 1.0, "rsqrt_dim": flat.shape[1] ** -0.5, "cosine": 1 / temperature}
    if scale not in factors:
        raise ValueError(f"affinity scale {scale!r}: use 'one', 'rsqrt_dim' or 'cosine'")
    logits = torch.einsum("bdhw,qd->bqhw", features, flat) * factors[scale]
    invalid = ~valid.flatten()[:, None, None]
    logits = logits.masked_fill(invalid, torch.finfo(logits.dtype).min)
    if null:
        logits = torch.cat([logits, torch.zeros_like(logits[:, :1])], dim=1)
    # All are equal, not zero, where no prototype is valid.
    return logits.softmax(dim=1)[:, : len(flat)].masked_fill(invalid, 0)


def aggregate(
    features: Tensor,
    prototypes: Tensor,
    valid: Tensor,
    scale: Scale,
    temperature: float,
    null: bool = False,
) -> Tensor:
    """F̂ = [F ; F'] with F' = S Q (Eqs. 8-9); F' is 0 as long as no prototype is valid.

    Differs from the released code: no learned projections and a softmax, as the paper says; for the
    other see `ParametricAggregation`.

    Args:
        features: F, (B, D, H, W).
        prototypes: Q, (C, K, D).
        valid: bool (C, K).
        scale: as in `prototype_affinity`.
        temperature: of the scale `cosine`.
        null: as in `prototype_affinity`.

    Returns:
        (B, 2D, H, W).
    """
    affinity = prototype_affinity(
        features, prototypes, valid, scale=scale, temperature=temperature, null=null
    )
    context = torch.einsum("bqhw,qd->bdhw", affinity, prototypes.detach().flatten(0, 1))
    return torch.cat([features, context.to(features.dtype)], dim=1)


class ParametricAggregation(nn.Module):
    """RSA as the released code has it: learned projections, and an affinity without softmax.

    F' = A((q(F) k(Q)ᵀ · C / K) v(Q)). The factor is 20 / 10 = 2 there, from a division by K and a
    product with C in a row. Invalid prototypes take no part here; there they are noise at first.
    """

    def __init__(self, channels: int) -> None:
        """Four 1×1 projections of D = `channels`."""
        super().__init__()
        self.query = nn.Conv2d(channels, channels, 1)
        self.key = nn.Linear(channels, channels)
        self.value = nn.Linear(channels, channels)
        self.output = nn.Conv2d(channels, channels, 1)

    def forward(self, features: Tensor, prototypes: Tensor, valid: Tensor) -> Tensor:
        """[F ; F'], (B, 2D, H, W), as `aggregate`."""
        classes, k, _ = prototypes.shape
        flat = _flat(features, prototypes)
        logits = torch.einsum("bdhw,qd->bqhw", self.query(features), self.key(flat))
        affinity = (logits * classes / k).masked_fill(~valid.flatten()[:, None, None], 0)
        context = self.output(torch.einsum("bqhw,qd->bdhw", affinity, self.value(flat)))
        return torch.cat([features, context.to(features.dtype)], dim=1)


def _flat(features: Tensor, prototypes: Tensor) -> Tensor:
    if features.shape[1] != prototypes.shape[2]:
        raise ValueError(
            f"features have {features.shape[1]} channels, prototypes {prototypes.shape[2]}"
        )
    return prototypes.detach().flatten(0, 1)  # (C·K, D)
