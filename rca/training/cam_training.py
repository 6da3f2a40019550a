"""What stage `train_cam` changes as it trains, how an epoch begins, and a step."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from rca.config import Compute, TrainCam
from rca.data.datasets import Example, Seeds
from rca.data.index import Index
from rca.method.accumulation import AttentionStore, attention_drop
from rca.method.cams import image_scores
from rca.method.memory import MemoryBank
from rca.method.objective import ObjectiveSettings, memorise, rca_losses
from rca.method.placement import to_image, to_view
from rca.method.prototypes import fit_prototypes, random_prototypes
from rca.models.cam_network import CamNetwork, projection_head
from rca.models.device import placed
from rca.training.checkpoint import Part, RandomState
from rca.training.distributed import gather, take_maximum
from rca.training.form import autocast

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Parts:
    """What a training changes.

    Attributes:
        network: the classification network, the prototypes in it.
        memory: M of Eq. 3.
        attention: the accumulated maps; None without OAA.
        images: names of the training images, by position.
        mixup: draws the partners and their shares; begun anew each epoch.
        projection: the head in front of the contrast, if there is one. Several processes see the
            same regions there, so it has the same gradients in each and needs no averaging.
    """

    network: CamNetwork
    memory: MemoryBank
    attention: AttentionStore | None
    images: Sequence[str]
    mixup: torch.Generator
    projection: nn.Module | None = None

    def named(self) -> dict[str, Part]:
        """As parts of a checkpoint."""
        named: dict[str, Part] = {
            "network": self.network,
            "memory": self.memory,
            "mixup": RandomState(self.mixup),
        }
        if self.attention is not None:
            named["attention"] = Combined(self.attention)
        if self.projection is not None:
            named["projection"] = self.projection
        return named


class Combined:
    """The accumulated maps of all processes as a part of a checkpoint."""

    def __init__(self, attention: AttentionStore) -> None:
        self.attention = attention

    def state_dict(self) -> dict[str, Tensor]:
        """The maps of all processes; afterwards each has them."""
        combine(self.attention)
        return self.attention.state_dict()

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Go on from there."""
        self.attention.load_state_dict(state)


def build(cfg: TrainCam, data: Index, noise: torch.Generator, device: torch.device) -> Parts:
    """Network, memory and attention as they are before training, on `device`."""
    network = CamNetwork(len(data.classes), cfg)
    network = placed(network, device).train()
    memory = MemoryBank(
        len(data.classes) + cfg.memory.background,
        cfg.memory.slots,
        network.backbone.channels,
        cfg.memory.update,
        cfg.memory.momentum,
        noise,
    )
    images = [record.image for record in data.split("train")]
    attention = None
    if cfg.attention.accumulate:
        attention = AttentionStore(images, training_tags(data), (cfg.attention.size,) * 2).to(
            device
        )
    projection = projection_head(network.backbone.channels, cfg.rsc) if cfg.rsc.enabled else None
    projection = projection.to(device) if projection is not None else None
    return Parts(network, memory.to(device), attention, images, torch.Generator(), projection)


def combine(attention: AttentionStore | None) -> None:
    """Give each process the maps that all of them accumulated."""
    if attention is not None:
        take_maximum(attention.maps)
        take_maximum(attention.seen)


def begin_epoch(parts: Parts, cfg: TrainCam, seeds: Seeds, epoch: int) -> None:
    """What an epoch finds: the prototypes of the memory as it is, and a random state of its own."""
    combine(parts.attention)
    parts.mixup.set_state(seeds("mixup", epoch).get_state())
    if cfg.rsa.enabled and epoch >= cfg.rsa.start_epoch:
        refit_prototypes(parts, cfg, epoch, seeds)


def settings(cfg: TrainCam) -> ObjectiveSettings:
    """The objective's settings from their places in the configuration."""
    return ObjectiveSettings(
        auxiliary_weight=cfg.auxiliary_weight if cfg.rsa.enabled else 0.0,
        contrast=cfg.rsc.enabled,
        contrast_weight=cfg.rsc.weight,
        contrast_start_epoch=cfg.rsc.start_epoch,
        temperature=cfg.rsc.temperature,
        beta=cfg.rsc.beta,
        gate=cfg.memory.gate,
        region_rule=cfg.rsc.region_rule,
        region_fraction=cfg.rsc.region_fraction,
        confident_share=cfg.rsc.confident_share,
        query_gate=cfg.rsc.query_gate,
        background=cfg.memory.background,
        background_level=cfg.memory.background_level,
        background_queries=cfg.rsc.background_queries,
        memory_pooling=cfg.memory.pooling,
        partner=cfg.rsc.partner,
        normalise_first=cfg.rsc.normalise_first,
        exclude_partner=cfg.rsc.exclude_partner,
        form=cfg.rsc.form,
        sum_images=cfg.rsc.sum_images,
    )


def refit_prototypes(parts: Parts, cfg: TrainCam, epoch: int, seeds: Seeds) -> None:
    """Prototypes of the memory as it is, once an epoch; K-means begins where they were."""
    network, memory, rule = parts.network, parts.memory, cfg.rsa.prototype_rule
    labels = len(network.prototypes)  # without the background's, though the memory may have it
    rows, filled = memory.rows[:labels], memory.filled[:labels]
    if rule == "kmeans":
        prototypes, valid = fit_prototypes(
            rows,
            filled,
            cfg.rsa.prototypes,
            generator=seeds("prototypes", epoch),
            previous=network.prototypes,
            previous_valid=network.prototypes_valid,
        )
    else:
        # The same draw each epoch: a control must not differ from K-means by its unrest.
        prototypes, valid = random_prototypes(
            rows, filled, cfg.rsa.prototypes, seeds("prototypes"), rule
        )
    network.prototypes.copy_(prototypes)
    network.prototypes_valid.copy_(valid)
    log.info("prototypes of %d of %d classes", int(valid.any(1).sum()), len(valid))


def step(
    parts: Parts,
    network: nn.Module,
    cfg: TrainCam,
    compute: Compute,
    seeds: Seeds,
    batch: Example,
    epoch: int,
    share: float,
) -> dict[str, Tensor]:
    """The losses of a batch, whose regions are memorised and whose maps are accumulated.

    Args:
        parts: of which the memory and the attention are written.
        network: that of `parts`, in the form to run it in.
        cfg: section `train_cam`.
        compute: its precision.
        seeds: of OAA++'s drop layer.
        batch: of training views.
        epoch: 0-based.
        share: factor on every loss.

    Returns:
        As `rca_losses`.
    """
    device = parts.memory.rows.device
    pixels = batch.pixels.to(device, memory_format=torch.channels_last)
    tags, boxes = batch.tags.to(device), batch.boxes.to(device)
    assert isinstance(batch.positions, Tensor)  # of a batch
    images = [parts.images[position] for position in batch.positions.tolist()]
    attention = parts.attention if epoch >= cfg.attention.start_epoch else None
    if attention is not None and cfg.attention.drop:
        draws = [seeds("drop", epoch, image) for image in images]
        pixels = _erase_seen(pixels, images, boxes, attention, cfg, draws)
    objective = settings(cfg)
    contrasting = objective.contrast and epoch >= objective.contrast_start_epoch
    with autocast(compute, device):
        maps = network(pixels, contrasting)
    features, coarse, final = maps.features.float(), maps.coarse.float(), maps.final.float()
    losses = rca_losses(
        maps.queries.float(),
        coarse,
        final,
        tags,
        parts.memory,
        objective,
        epoch,
        parts.mixup,
        gather,
        parts.projection,
    )
    if epoch >= cfg.memory.start_epoch:
        names = batch.positions.to(device)
        memorise(features, coarse, final, tags, parts.memory, objective, gather, names)
    if attention is not None:
        final = final.detach()
        attention.update(
            images,
            to_image(final, boxes, (cfg.attention.size,) * 2),
            tags,
            image_scores(final),
            cfg.attention.gate,
            missing_too=cfg.attention.fill_missing and epoch + 1 == cfg.epochs,
        )
    return {name: share * value for name, value in losses.items()}


def _erase_seen(
    pixels: Tensor,
    images: Sequence[str],
    boxes: Tensor,
    attention: AttentionStore,
    cfg: TrainCam,
    draws: Sequence[torch.Generator],
) -> Tensor:
    """OAA++: the views without what their images have been recognised by in earlier epochs."""
    cells = (-(-cfg.view.size // cfg.backbone.stride),) * 2
    seen = to_view(attention.get(images), boxes, cells)
    return attention_drop(
        pixels, seen, draws, cfg.attention.drop_threshold, cfg.attention.drop_probability
    )


def training_tags(data: Index) -> Tensor:
    """Tags of the training images, (I, C)."""
    return torch.stack([data.tag_vector(record) for record in data.split("train")])
