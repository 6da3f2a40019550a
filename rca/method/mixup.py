"""Region mixup: a region blended with one of another class (Eq. 5)."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

from rca.method.numerics import full_precision, unit

Partner = Literal["other_class", "other_image", "any"]


@full_precision
def mix_regions(
    embeddings: Tensor,
    labels: Tensor,
    *,
    beta: float,
    generator: torch.Generator,
    partner: Partner,
    normalise_first: bool = False,
    images: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Mix regions by Eq. 5: f̂ = ω f_l + (1 - ω) f_l' with ω ~ Beta(β, β), then f̂ / ‖f̂‖.

    A region without a partner stands for itself: ω = 1 and l' = l.

    Args:
        embeddings: f, the embeddings of the regions, (R, D), not normalised.
        labels: l, the class of each region, (R,).
        beta: β, the parameter of the distribution of ω.
        generator: The generator of ω and of the partners.
        partner: The rule for partners, as in `sample_partners`.
        normalise_first: Whether to normalise both regions before mixing as well, so that ω is their
            share whatever their lengths. Paper: only after.
        images: The image of each region, as in `sample_partners`.

    Returns:
        f̂ (R, D), l' (R,) and ω (R,).
    """
    other = sample_partners(labels, generator, partner, images)
    alone = other < 0
    omega = sample_beta(beta, labels.shape, generator).to(embeddings).masked_fill(alone, 1)
    other = torch.where(alone, torch.arange(len(labels), device=labels.device), other)
    if normalise_first:
        embeddings = unit(embeddings)
    mixed = torch.lerp(embeddings[other], embeddings, omega[:, None])
    return unit(mixed), labels[other], omega


def sample_partners(
    labels: Tensor,
    generator: torch.Generator,
    partner: Partner,
    images: Tensor | None = None,
) -> Tensor:
    """Draw for each region the index of another to mix with, uniformly among those allowed.

    Args:
        labels: The class of each region, (R,).
        generator: The generator of the draw.
        partner: `other_class` draws among the regions of other classes (paper: l' ≠ l).
            `other_image` draws among those that are also of another image (a reading of the
            paper's text). `any` draws among all, the region itself included (released code, which
            draws an image first).
        images: The image of each region, (R,); `other_image` needs it.

    Returns:
        The indices, (R,); -1 where no region is allowed.

    Raises:
        ValueError: The partner rule is unknown, or `other_image` is called without images.
    """
    if partner not in ("other_class", "other_image", "any"):
        raise ValueError(f"mixup partner {partner!r}: use 'other_class', 'other_image' or 'any'")
    regions = len(labels)
    if regions == 0:
        return labels
    lots = torch.rand(regions, regions, generator=generator, device=generator.device)
    lots = lots.to(labels.device)
    if partner != "any":
        lots = lots.masked_fill(labels[:, None] == labels, -1)
    if partner == "other_image":
        if images is None:
            raise ValueError("mixup partner 'other_image': pass the image of each region")
        lots = lots.masked_fill(images[:, None] == images, -1)
    highest, index = lots.max(dim=1)
    return index.masked_fill(highest < 0, -1)


def sample_beta(beta: float, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Draw from Beta(β, β), float64, on the generator's device.

    `torch.distributions` takes no generator. This is exact for every β > 0 (Devroye, Random variate
    generation in one line of code, 1996): with U, V uniform, c = cos 2πV and w = U^(1/β),

        1/2 + c/2 · sqrt((1 - w) / (w + (1 - w) c²)).
    """
    u, v = torch.rand(
        (2, *shape), generator=generator, device=generator.device, dtype=torch.float64
    )
    w, cosine = u ** (1 / beta), torch.cos(2 * math.pi * v)
    tiny = torch.finfo(torch.float64).tiny  # U = 0 where the cosine vanishes
    spread = (1 - w) / (w + (1 - w) * cosine.square()).clamp_min(tiny)
    return (0.5 + 0.5 * cosine * spread.sqrt()).clamp(0, 1)
