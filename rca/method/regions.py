"""Pseudo-regions of the classes in an image, and their embeddings (Eqs. 1-2)."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from rca.method.cams import normalise_cams
from rca.method.numerics import full_precision

RegionRule = Literal["softmax_mean", "sigmoid_mean", "max_fraction"]
Pooling = Literal["independent", "sequential"]


@full_precision
def class_regions(coarse: Tensor, tags: Tensor, rule: RegionRule, fraction: float) -> Tensor:
    """Compute P_l of Eq. 1: the pixels of each tagged class, from the coarse CAM; no gradient.

    Rules:
        softmax_mean: Softmax over the classes, then strictly above the map's mean (released code;
            the paper says "binarised"). With a single class the softmax is constant.
        sigmoid_mean: The same with a sigmoid, for which classes do not compete.
        max_fraction: The CAM scaled to [0, 1], above `fraction`.

    A map that is constant, or that the rule leaves empty, gives its highest pixel, the first of
    several. Differs from the released code: there an empty region is divided by its zero area.

    Args:
        coarse: C, the raw coarse CAMs, (B, C, H, W).
        tags: The image tags, (B, C).
        rule: One of the above.
        fraction: The level of `max_fraction`.

    Returns:
        The masks, bool (B, C, H, W), empty for absent classes only.

    Raises:
        ValueError: The rule is unknown, or the tags do not fit the maps.
    """
    if tags.shape != coarse.shape[:2]:
        raise ValueError(f"tags are {tuple(tags.shape)}, the maps {tuple(coarse.shape)}: need B, C")
    score, level = _score_and_level(coarse.detach(), rule, fraction)
    varies = score.amax((-2, -1), keepdim=True) > score.amin((-2, -1), keepdim=True)
    masks = (score > level) & varies
    masks = torch.where(masks.any(-1).any(-1)[..., None, None], masks, _highest_pixel(coarse))
    return masks & tags.bool()[..., None, None]


@full_precision
def confident_pixels(masks: Tensor, coarse: Tensor, share: float) -> Tensor:
    """Keep the most confident pixels of each region: beyond the paper; no gradient.

    Args:
        masks: P, the regions, bool (B, C, H, W).
        coarse: C, the raw coarse CAMs, (B, C, H, W); higher is more confident.
        share: The share of each region's pixels that stay, above 0. Their number is rounded up; of
            equal pixels, the first stay.

    Returns:
        The masks, bool (B, C, H, W); empty where P is.
    """
    if share >= 1:
        return masks
    flat, kept = coarse.detach().flatten(2), masks.flatten(2)
    order = flat.masked_fill(~kept, -torch.inf).argsort(dim=-1, descending=True, stable=True)
    area = kept.sum(dim=-1, keepdim=True)
    most = (area * share).ceil()
    first = torch.arange(flat.shape[-1], device=flat.device) < most  # by rank, (B, C, HW)
    return torch.zeros_like(kept).scatter(-1, order, first.expand_as(kept)).view_as(masks)


@full_precision
def background_region(coarse: Tensor, tags: Tensor, masks: Tensor, level: float) -> Tensor:
    """Find the pixels that no tagged class claims: beyond the paper; no gradient.

    They are in no region of a tagged class, and each tagged class's CAM, scaled to [0, 1], is below
    `level` there. In an image without tags, they are all pixels.

    Args:
        coarse: C, the raw coarse CAMs, (B, C, H, W).
        tags: The image tags, (B, C).
        masks: P, the regions of the tagged classes, bool (B, C, H, W).
        level: The level that a CAM must stay below, from 0 to 1. At 1 only the regions count.

    Returns:
        The mask, bool (B, 1, H, W); empty where classes claim all.
    """
    present = tags.bool()[..., None, None]
    scaled = normalise_cams(coarse.detach())
    claimed = masks | (scaled >= level) if level < 1 else masks
    return ~(claimed & present).any(dim=1, keepdim=True)


@full_precision
def pool_regions(features: Tensor, masks: Tensor, pooling: Pooling) -> Tensor:
    """Compute f_l of Eq. 2, the mean feature of a region: Σ P_l F / Σ P_l; zero if P_l is empty.

    Args:
        features: F, the features, (B, D, H, W).
        masks: P, the regions, bool (B, C, H, W).
        pooling: `independent` is Eq. 2. `sequential` is what the released code puts in its memory:
            features stay masked by the classes before, so a region sums over the intersection of
            all masks so far, and still divides by its own area.

    Returns:
        f, the mean features, (B, C, D).

    Raises:
        ValueError: The pooling is unknown.
    """
    if pooling not in ("independent", "sequential"):
        raise ValueError(f"pooling {pooling!r}: use 'independent' or 'sequential'")
    area = masks.sum(dim=(-2, -1))  # (B, C)
    if pooling == "sequential":
        empty = (area == 0)[..., None, None]
        masks = (masks | empty).cumprod(dim=1).bool() & ~empty
    total = torch.einsum("bdhw,bchw->bcd", features, masks.to(features.dtype))
    return total / area.clamp_min(1)[..., None]


def _score_and_level(
    coarse: Tensor, rule: RegionRule, fraction: float
) -> tuple[Tensor, Tensor | float]:
    if rule == "max_fraction":
        return normalise_cams(coarse), fraction
    if rule == "softmax_mean":
        score = coarse.softmax(dim=1)
    elif rule == "sigmoid_mean":
        score = coarse.sigmoid()
    else:
        raise ValueError(
            f"region rule {rule!r}: use 'softmax_mean', 'sigmoid_mean' or 'max_fraction'"
        )
    return score, score.mean(dim=(-2, -1), keepdim=True)


def _highest_pixel(maps: Tensor) -> Tensor:
    flat = maps.flatten(start_dim=2)
    pixels = torch.arange(flat.shape[-1], device=maps.device)
    return (pixels == flat.argmax(dim=-1, keepdim=True)).view_as(maps)
