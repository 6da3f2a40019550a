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
    """Return the rows as they are: the `Gather` of a single process."""
    return rows


@dataclass(frozen=True)
class ObjectiveSettings:
    """Weights and switches, as the configuration has them.

    Attributes:
        auxiliary_weight: The weight of the coarse CAM's classification loss.
        contrast: Whether RSC is on.
        contrast_weight: The weight of L_rsc.
        contrast_start_epoch: The first epoch with L_rsc, 0-based.
        temperature: t of Eq. 4.
        beta: β of Eq. 5.
        gate: The probability above which a region enters the memory.
        region_rule: The rule for regions, as in `class_regions`.
        region_fraction: The level of the region rule `max_fraction`.
        confident_share: The share of pixels kept, as `share` in `confident_pixels`, for queries and
            for the memory.
        query_gate: The probability above which a tagged class's region is contrasted. At 0, every
            tagged class's region is.
        background: Whether regions of the background enter the memory, as class C.
        background_level: The level of the background's region, as `level` in `background_region`.
        background_queries: Whether regions of the background are contrasted too.
        memory_pooling: The pooling for the memory, as in `pool_regions`. For queries it is always
            `independent`.
        partner: The rule for partners, as in `sample_partners`.
        normalise_first: Whether to normalise before mixing, as in `mix_regions`.
        exclude_partner: Whether to leave both classes out of the negatives, as in
            `region_contrast`.
        form: The form of the loss, as in `info_nce`.
        sum_images: Whether to sum the images' means instead of taking the mean over all regions, as
            in `region_contrast`.
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
        embeddings: f, the embeddings, (R, D).
        labels: l, the class of each region, (R,); C is the background.
        images: The number of each region's image among those given, (R,).
    """

    embeddings: Tensor
    labels: Tensor
    images: Tensor


@full_precision
def multilabel_loss(logits: Tensor, tags: Tensor) -> Tensor:
    """Compute L_ml, the mean binary cross-entropy of sigmoid(`logits`) and `tags`, both (B, C)."""
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
    masks: Tensor | None = None,
) -> dict[str, Tensor]:
    """Compute the total loss and its parts.

    With several processes, each has a piece of the batch. The contrast uses the regions of all
    processes and is the same in each; the other losses are means over this process's images.

    Args:
        features: The features of the queries, (B, D, H, W): F, or the output of a head on it.
        coarse: C, the raw coarse CAMs, (B, C, H, W).
        final: O, the raw final CAMs, (B, C, H, W).
        tags: y, the image tags, (B, C).
        memory: The memory, with regions of earlier steps.
        settings: The weights and switches.
        epoch: The number of the epoch, 0-based.
        generator: The generator of the mixup.
        gather: A function that gathers rows from all processes, whose generators must agree.
        project: The head in front of the comparison, as in `region_contrast`.
        masks: P, as `region_masks` gives it; None computes it here.

    Returns:
        `loss`, with the graph; `final`, `coarse` and `contrast`, its unweighted parts, detached.
    """
    final_loss = multilabel_loss(image_scores(final), tags)
    coarse_loss = multilabel_loss(image_scores(coarse), tags)
    contrast = final_loss.new_zeros(())
    if settings.contrast and epoch >= settings.contrast_start_epoch:
        regions = query_regions(features, coarse, final, tags, settings, masks)
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
    masks: Tensor | None = None,
) -> Regions:
    """Put the regions of a step into the memory, after its loss.

    Args:
        features: F, the features of the memory, (B, D, H, W).
        coarse: C, the raw coarse CAMs, (B, C, H, W).
        final: O, the raw final CAMs, (B, C, H, W).
        tags: y, the image tags, (B, C).
        memory: The memory that is written to.
        settings: The gate, the region rule and the pooling.
        gather: A function that gathers rows from all processes, so that each writes the regions of
            all.
        names: The number of each image in the data set, (B,), by which `image_ema` keeps its
            entries.
        masks: P, as `region_masks` gives it; None computes it here.

    Returns:
        The regions that entered, of all processes. Their images are those of `names`, if given.
    """
    regions = entering_regions(features, coarse, final, tags, settings, masks)
    if names is not None:
        regions = regions._replace(images=names[regions.images])
    regions = Regions(*map(gather, regions))
    memory.enqueue(*regions)
    return regions


@torch.no_grad()
def entering_regions(
    features: Tensor,
    coarse: Tensor,
    final: Tensor,
    tags: Tensor,
    settings: ObjectiveSettings,
    masks: Tensor | None = None,
) -> Regions:
    """Pool the regions that `memorise` writes, image by image, the background last in each."""
    entering = admitted(tags, image_scores(final), settings.gate)  # (B, C)
    pooling, background = settings.memory_pooling, settings.background
    return _regions(features, coarse, tags, entering, settings, pooling, background, masks)


def query_regions(
    features: Tensor,
    coarse: Tensor,
    final: Tensor,
    tags: Tensor,
    settings: ObjectiveSettings,
    masks: Tensor | None = None,
) -> Regions:
    """Pool the regions to contrast with the memory, with gradients for `features` alone."""
    asking = tags.bool()
    if settings.query_gate > 0:
        asking = admitted(tags, image_scores(final), settings.query_gate)
    background = settings.background_queries
    return _regions(features, coarse, tags, asking, settings, "independent", background, masks)


def region_masks(coarse: Tensor, tags: Tensor, settings: ObjectiveSettings) -> Tensor:
    """Compute P of a step, bool (B, C, H, W): its contrast and its memory pool the same regions."""
    return class_regions(coarse, tags, settings.region_rule, settings.region_fraction)


def _regions(
    features: Tensor,
    coarse: Tensor,
    tags: Tensor,
    chosen: Tensor,
    settings: ObjectiveSettings,
    pooling: Pooling,
    background: bool,
    masks: Tensor | None,
) -> Regions:
    """Pool the regions of the chosen classes, (B, C), and on request of the background."""
    if masks is None:
        masks = region_masks(coarse, tags, settings)
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
    """Compute the number of each region's image, (R,), counted over the pieces of all processes."""
    regions = gather(images.new_tensor([len(images)]))  # (processes,)
    sizes = gather(images.new_tensor([batch]))
    return gather(images) + (sizes.cumsum(0) - sizes).repeat_interleave(regions)
