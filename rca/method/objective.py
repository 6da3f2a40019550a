"""The objective, L = L_ml(O) + 0.4 L_ml(C) + 0.01 L_rsc, and what is memorised after it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from rca.method.cams import image_scores
from rca.method.contrast import Form, Project, region_contrast
from rca.method.memory import MemoryBank, admitted
from rca.method.mixup import Partner
from rca.method.numerics import full_precision
from rca.method.regions import (
    Pooling,
    RegionRule,
    background_region,
    class_regions,
    confident_pixels,
    pool_regions,
)

# The rows (R, …) of this process → those of all, one process after the other, with gradients.
Gather = Callable[[Tensor], Tensor]


def alone(rows: Tensor) -> Tensor:
    """The `Gather` of a single process."""
    return rows


@dataclass(frozen=True)
class ObjectiveSettings:
    """Weights and switches, as the configuration has them.

    Attributes:
        auxiliary_weight: weight of the coarse CAM's classification loss.
        contrast: whether RSC is on.
        contrast_weight: weight of L_rsc.
        contrast_start_epoch: first epoch with L_rsc, 0-based.
        temperature: t of Eq. 4.
        beta: β of Eq. 5.
        gate: probability above which a region enters the memory.
        region_rule: as in `class_regions`.
        region_fraction: level of the region rule `max_fraction`.
        confident_share: as `share` in `confident_pixels`, of queries and of the memory.
        query_gate: probability above which a tagged class's region is contrasted; 0: any.
        background: whether regions of the background enter the memory, as class C.
        background_level: as `level` in `background_region`.
        background_queries: whether they are contrasted too.
        memory_pooling: as in `pool_regions`, for the memory; queries are always independent.
        partner: as in `sample_partners`.
        normalise_first: as in `mix_regions`.
        exclude_partner: as in `region_contrast`.
        form: as in `info_nce`.
        sum_images: sum the images' means instead of taking the mean over all regions, as with
            `images` in `region_contrast`.
    """

    auxiliary_weight: float
    contrast: bool
    contrast_weight: float
    contrast_start_epoch: int
    temperature: float
    beta: float
    gate: float
    region_rule: RegionRule
    region_fraction: float
    confident_share: float
    query_gate: float
    background: bool
    background_level: float
    background_queries: bool
    memory_pooling: Pooling
    partner: Partner
    normalise_first: bool
    exclude_partner: bool
    form: Form
    sum_images: bool


class Regions(NamedTuple):
    """Regions of some images.

    Attributes:
        embeddings: f, (R, D).
        labels: l, (R,); C is the background.
        images: (R,), the number of each region's image among those given.
    """

    embeddings: Tensor
    labels: Tensor
    images: Tensor


@full_precision
def multilabel_loss(logits: Tensor, tags: Tensor) -> Tensor:
    """L_ml: mean binary cross-entropy of the sigmoid of `logits` against `tags`, both (B, C)."""
    return F.multilabel_soft_margin_loss(logits, tags.to(logits.dtype))


def rca_losses(
    features: Tensor,
    coarse: Tensor,
    final: Tensor,
    tags: Tensor,
    memory: MemoryBank,
    settings: ObjectiveSettings,
    epoch: int,
    generator: torch.Generator,
    gather: Gather = alone,
    project: Project | None = None,
) -> dict[str, Tensor]:
    """The total loss and its parts.

    Of several processes each has a piece of the batch. Contrast is of the regions of all, the same
    in each; the other losses are means over the images here.

    Args:
        features: the space of the queries, (B, D, H, W): F, or what a head makes of it.
        coarse: C, (B, C, H, W), raw.
        final: O, (B, C, H, W), raw.
        tags: y, (B, C).
        memory: of regions of earlier steps.
        settings: weights and switches.
        epoch: 0-based.
        generator: of the mixup.
        gather: of several processes, whose generators must agree.
        project: as in `region_contrast`.

    Returns:
        `loss`, with the graph; `final`, `coarse` and `contrast`, its unweighted parts, detached.
    """
    final_loss = multilabel_loss(image_scores(final), tags)
    coarse_loss = multilabel_loss(image_scores(coarse), tags)
    contrast = final_loss.new_zeros(())
    if settings.contrast and epoch >= settings.contrast_start_epoch:
        regions = query_regions(features, coarse, final, tags, settings)
        contrast = _contrast(regions, len(tags), memory, settings, generator, gather, project)
    loss = final_loss + settings.auxiliary_weight * coarse_loss
    return {
        "loss": loss + settings.contrast_weight * contrast,
        "final": final_loss.detach(),
        "coarse": coarse_loss.detach(),
        "contrast": contrast.detach(),
    }


@torch.no_grad()
def memorise(
    features: Tensor,
    coarse: Tensor,
    final: Tensor,
    tags: Tensor,
    memory: MemoryBank,
    settings: ObjectiveSettings,
    gather: Gather = alone,
    names: Tensor | None = None,
) -> Regions:
    """Put the regions of a step into the memory, after its loss.

    Args:
        features: the space of the memory, (B, D, H, W): F.
        coarse: C, (B, C, H, W), raw.
        final: O, (B, C, H, W), raw.
        tags: y, (B, C).
        memory: that is written to.
        settings: gate, region rule and pooling.
        gather: of several processes, which then all write the regions of all.
        names: (B,), number of each image in the data set, by which `image_ema` keeps its entries.

    Returns:
        What entered, of all processes; its images are those of `names`, if given.
    """
    regions = entering_regions(features, coarse, final, tags, settings)
    if names is not None:
        regions = regions._replace(images=names[regions.images])
    regions = Regions(*map(gather, regions))
    memory.enqueue(*regions)
    return regions


@torch.no_grad()
def entering_regions(
    features: Tensor, coarse: Tensor, final: Tensor, tags: Tensor, settings: ObjectiveSettings
) -> Regions:
    """What `memorise` writes of these images, image by image, the background last of each."""
    entering = admitted(tags, image_scores(final), settings.gate)  # (B, C)
    pooling, background = settings.memory_pooling, settings.background
    return _regions(features, coarse, tags, entering, settings, pooling, background)


def query_regions(
    features: Tensor, coarse: Tensor, final: Tensor, tags: Tensor, settings: ObjectiveSettings
) -> Regions:
    """The regions that are contrasted with the memory, with gradients for `features` alone."""
    asking = tags.bool()
    if settings.query_gate > 0:
        asking = admitted(tags, image_scores(final), settings.query_gate)
    background = settings.background_queries
    return _regions(features, coarse, tags, asking, settings, "independent", background)


def _regions(
    features: Tensor,
    coarse: Tensor,
    tags: Tensor,
    chosen: Tensor,
    settings: ObjectiveSettings,
    pooling: Pooling,
    background: bool,
) -> Regions:
    """The pooled regions of the chosen classes, (B, C), and on request of the background."""
    masks = class_regions(coarse, tags, settings.region_rule, settings.region_fraction)
    kept = confident_pixels(masks, coarse, settings.confident_share) & chosen[..., None, None]
    pooled = pool_regions(features, kept, pooling)  # (B, C, D)
    if background:
        rest = background_region(coarse, tags, masks, settings.background_level)  # (B, 1, H, W)
        pooled = torch.cat([pooled, pool_regions(features, rest, "independent")], dim=1)
        chosen = torch.cat([chosen, rest.flatten(1).any(dim=1, keepdim=True)], dim=1)
    images, labels = chosen.nonzero(as_tuple=True)
    return Regions(pooled[chosen], labels, images)


def _contrast(
    regions: Regions,
    batch: int,
    memory: MemoryBank,
    settings: ObjectiveSettings,
    generator: torch.Generator,
    gather: Gather,
    project: Project | None,
) -> Tensor:
    numbered = settings.sum_images or settings.partner == "other_image"
    return region_contrast(
        gather(regions.embeddings),
        gather(regions.labels),
        memory.rows,
        memory.filled,
        temperature=settings.temperature,
        beta=settings.beta,
        generator=generator,
        partner=settings.partner,
        normalise_first=settings.normalise_first,
        exclude_partner=settings.exclude_partner,
        form=settings.form,
        images=_numbered(regions.images, batch, gather) if numbered else None,
        sum_images=settings.sum_images,
        project=project,
    )


def _numbered(images: Tensor, batch: int, gather: Gather) -> Tensor:
    """The image of each region, (R,), counted through the pieces of all processes."""
    regions = gather(images.new_tensor([len(images)]))  # (processes,)
    sizes = gather(images.new_tensor([batch]))
    return gather(images) + (sizes.cumsum(0) - sizes).repeat_interleave(regions)
