"""RSA, regional semantic aggregation: every pixel attends to the prototypes (Eqs. 7-9)."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
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
    """Compute S of Eq. 7: softmax(F Qᵀ) over all valid prototypes of all classes, at each pixel.

    Args:
        features: F, the features, (B, D, H, W).
        prototypes: Q, the prototypes, (C, K, D). No gradient reaches them.
        valid: Which prototypes are valid, bool (C, K).
        scale: The scale of the logits. `one` is the paper's, nearly one-hot at D = 512.
            `rsqrt_dim` is 1/√D, as in attention. `cosine` normalises both sides and divides by
            `temperature`.
        temperature: The temperature of the scale `cosine`.
        null: Whether to add a prototype at the origin, so that a pixel like none of the others (the
            background has no prototypes) takes nothing. Paper: no.

    Returns:
        S, (B, C·K, H, W). Its sum over prototypes is 1, and below 1 with `null`. It is 0 if no
        prototype is valid.

    Raises:
        ValueError: The scale is unknown, or the channels do not fit.
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
    # Without a valid prototype, the softmax would be uniform, not zero.
    return logits.softmax(dim=1)[:, : len(flat)].masked_fill(invalid, 0)


def aggregate(
    features: Tensor,
    prototypes: Tensor,
    valid: Tensor,
    scale: Scale,
    temperature: float,
    null: bool = False,
) -> Tensor:
    """Compute F̂ = [F ; F'] with F' = S Q (Eqs. 8-9); F' is 0 as long as no prototype is valid.

    Differs from the released code: no learned projections and a softmax, as the paper says. For
    the released form see `ParametricAggregation`.

    Args:
        features: F, the features, (B, D, H, W).
        prototypes: Q, the prototypes, (C, K, D).
        valid: Which prototypes are valid, bool (C, K).
        scale: The scale of the logits, as in `prototype_affinity`.
        temperature: The temperature of the scale `cosine`.
        null: Whether to add a prototype at the origin, as in `prototype_affinity`.

    Returns:
        F̂, (B, 2D, H, W).
    """
    affinity = prototype_affinity(
        features, prototypes, valid, scale=scale, temperature=temperature, null=null
    )
    context = torch.einsum("bqhw,qd->bdhw", affinity, prototypes.detach().flatten(0, 1))
    return torch.cat([features, context.to(features.dtype)], dim=1)


def linear_maps(
    features: Tensor,
    prototypes: Tensor,
    valid: Tensor,
    scale: Scale,
    temperature: float,
    null: bool,
    *,
    weight: Tensor,
    bias: Tensor,
) -> Tensor:
    """Compute the class maps of a linear head on F̂ (Eqs. 8-10), without F̂ itself.

    With the head's weights for F and for F', W = [W₁ W₂], the maps are W₁F + S (Q W₂ᵀ) + b. S then
    multiplies a row for each class instead of one for each channel.

    Args:
        features: F, the features, (B, D, H, W).
        prototypes: Q, the prototypes, (C', K, D).
        valid: Which prototypes are valid, bool (C', K).
        scale: The scale of the logits, as in `prototype_affinity`.
        temperature: The temperature of the scale `cosine`.
        null: Whether to add a prototype at the origin, as in `prototype_affinity`.
        weight: W, the weights of the head's 1×1 convolution, (C, 2D, 1, 1).
        bias: b, its bias, (C,).

    Returns:
        O, the class maps, (B, C, H, W): up to rounding, those of the convolution on `aggregate`.
    """
    affinity = prototype_affinity(
        features, prototypes, valid, scale=scale, temperature=temperature, null=null
    )
    own, context = weight.chunk(2, dim=1)
    return F.conv2d(features, own, bias) + _maps_of_context(
        affinity, prototypes, context[:, :, 0, 0]
    )


@full_precision
def _maps_of_context(affinity: Tensor, prototypes: Tensor, weight: Tensor) -> Tensor:
    """Compute S (Q W₂ᵀ), (B, C, H, W)."""
    return torch.einsum("bqhw,qc->bchw", affinity, prototypes.detach().flatten(0, 1) @ weight.T)


class ParametricAggregation(nn.Module):
    """RSA as the released code has it: learned projections, and an affinity without softmax.

    F' = A((q(F) k(Q)ᵀ · C / K) v(Q)). The released code divides by K and then multiplies by C, a
    factor of 20 / 10 = 2. Invalid prototypes take no part here; there they start as noise.
    """

    def __init__(self, channels: int) -> None:
        """Create the four 1×1 projections of D = `channels`."""
        super().__init__()
        self.query = nn.Conv2d(channels, channels, 1)
        self.key = nn.Linear(channels, channels)
        self.value = nn.Linear(channels, channels)
        self.output = nn.Conv2d(channels, channels, 1)

    def forward(self, features: Tensor, prototypes: Tensor, valid: Tensor) -> Tensor:
        """Compute [F ; F'], (B, 2D, H, W), as `aggregate` does."""
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
