"""Stage `train_cam`: train the classification network, with RSC, RSA and OAA as configured."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from rca.config import Compute, TrainCam
from rca.data.cam_store import CamShard
from rca.data.datasets import Example, Seeds, TrainingBatches, TrainingImages
from rca.data.index import Index, read_index
from rca.files import new_folder
from rca.method.accumulation import AttentionStore, attention_drop
from rca.method.cams import image_scores, normalise_cams
from rca.method.memory import MemoryBank
from rca.method.objective import ObjectiveSettings, memorise, rca_losses
from rca.method.placement import to_image, to_view
from rca.method.prototypes import fit_prototypes, random_prototypes
from rca.models.cam_network import CamNetwork
from rca.models.weights import save_weights
from rca.training.device import prepare
from rca.training.loop import Step, train, write_history
from rca.training.optimiser import build_optimiser
from rca.training.seeds import derive_seed, generator

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Parts:
    """What a training changes.

    Attributes:
        network: the classification network, the prototypes in it.
        memory: M of Eq. 3.
        attention: the accumulated maps; None without OAA.
        images: names of the training images, by position.
    """

    network: CamNetwork
    memory: MemoryBank
    attention: AttentionStore | None
    images: Sequence[str]


def run(cfg: TrainCam, compute: Compute, seed: int, *, index: Path, out: Path) -> None:
    """Train on the index's training images and tags; no mask is opened.

    Args:
        cfg: section `train_cam`.
        compute: device and threads.
        seed: of every random choice.
        index: folder of the index.
        out: folder that gets `weights.safetensors`, `history.csv` and `attention.safetensors`, the
            accumulated maps in the form of a CAM store; without OAA it holds none.
    """
    data = read_index(index)
    records = data.split("train")
    tags = torch.stack([data.tag_vector(record) for record in records])
    device = prepare(compute)
    seeds = partial(generator, seed, "train_cam")
    with torch.random.fork_rng():
        torch.manual_seed(derive_seed(seed, "train_cam", "weights"))
        parts = build(cfg, data, tags, seeds("memory"), device)
    optimiser = build_optimiser(parts.network, cfg.optimiser)
    images = TrainingImages(records, tags, cfg.view, seeds)
    batches = TrainingBatches(images, cfg.batch_size, compute.workers)

    def begin_epoch(epoch: int) -> Step:
        if cfg.rsa.enabled and epoch >= cfg.rsa.start_epoch:
            refit_prototypes(parts, cfg, epoch, seeds)
        draws = (seeds("mixup", epoch), seeds("drop", epoch))
        return partial(_step, parts, cfg, epoch, *draws)

    history = train(begin_epoch, batches, optimiser, cfg.optimiser, cfg.epochs)
    with new_folder(out) as folder:
        save_weights(folder / "weights.safetensors", parts.network, data.classes, cfg)
        write_history(folder / "history.csv", history)
        _write_attention(folder / "attention.safetensors", parts.attention, tags)


def build(
    cfg: TrainCam, data: Index, tags: Tensor, noise: torch.Generator, device: torch.device
) -> Parts:
    """Network, memory and attention as they are before training, on `device`."""
    network = CamNetwork(len(data.classes), cfg)
    network = network.to(device, memory_format=torch.channels_last).train()
    memory = MemoryBank(
        len(data.classes),
        cfg.memory.slots,
        network.backbone.channels,
        cfg.memory.update,
        cfg.memory.momentum,
        noise,
    )
    images = [record.image for record in data.split("train")]
    attention = None
    if cfg.attention.accumulate:
        attention = AttentionStore(images, tags, (cfg.attention.size,) * 2).to(device)
    return Parts(network, memory.to(device), attention, images)


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
    if rule == "kmeans":
        prototypes, valid = fit_prototypes(
            memory.rows,
            memory.filled,
            cfg.rsa.prototypes,
            generator=seeds("prototypes", epoch),
            previous=network.prototypes,
            previous_valid=network.prototypes_valid,
        )
    else:
        # The same draw each epoch: a control must not differ from K-means by its unrest.
        prototypes, valid = random_prototypes(
            memory.rows, memory.filled, cfg.rsa.prototypes, seeds("prototypes"), rule
        )
    network.prototypes.copy_(prototypes)
    network.prototypes_valid.copy_(valid)
    log.info("prototypes of %d of %d classes", int(valid.any(1).sum()), len(valid))


def _step(
    parts: Parts,
    cfg: TrainCam,
    epoch: int,
    mixup: torch.Generator,
    drop: torch.Generator,
    batch: Example,
) -> dict[str, Tensor]:
    device = parts.memory.rows.device
    pixels = batch.pixels.to(device, memory_format=torch.channels_last)
    tags, boxes = batch.tags.to(device), batch.boxes.to(device)
    images = [parts.images[position] for position in batch.positions.tolist()]
    accumulating = parts.attention is not None and epoch >= cfg.attention.start_epoch
    if accumulating and cfg.attention.drop:
        pixels = _erase_seen(pixels, images, boxes, parts.attention, cfg, drop)
    maps = parts.network(pixels)
    objective = settings(cfg)
    losses = rca_losses(
        maps.queries, maps.coarse, maps.final, tags, parts.memory, objective, epoch, mixup
    )
    if epoch >= cfg.memory.start_epoch:
        memorise(maps.features, maps.coarse, maps.final, tags, parts.memory, objective)
    if accumulating:
        final = maps.final.detach()
        parts.attention.update(
            images,
            to_image(final, boxes, (cfg.attention.size,) * 2),
            tags,
            image_scores(final),
            cfg.attention.gate,
            missing_too=cfg.attention.fill_missing and epoch + 1 == cfg.epochs,
        )
    return losses


def _erase_seen(
    pixels: Tensor,
    images: Sequence[str],
    boxes: Tensor,
    attention: AttentionStore,
    cfg: TrainCam,
    draws: torch.Generator,
) -> Tensor:
    """OAA++: the views without what their images have been recognised by in earlier epochs."""
    cells = (-(-cfg.view.size // cfg.backbone.stride),) * 2
    seen = to_view(attention.get(images), boxes, cells)
    return attention_drop(
        pixels, seen, draws, cfg.attention.drop_threshold, cfg.attention.drop_probability
    )


def _write_attention(path: Path, attention: AttentionStore | None, tags: Tensor) -> None:
    """The accumulated maps of each image's tags, each scaled to a maximum of 1."""
    shard = CamShard(bits=16)
    if attention is not None:
        for image, present in zip(attention.index, tags.bool(), strict=True):
            maps = normalise_cams(attention.get([image]))[0].cpu()
            shard.add(image, present.nonzero()[:, 0].numpy(), maps[present].numpy())
    shard.write(path)
