"""The training of the classification network: RSC, RSA and OAA, epoch by epoch and step by step."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from rca.config import Compute, TrainCam
from rca.data.cam_store import CamShard
from rca.data.datasets import Example, Seeds, TrainingBatches, TrainingImages
from rca.data.index import Index
from rca.method.accumulation import AttentionStore, attention_drop
from rca.method.cams import image_scores, normalise_cams
from rca.method.memory import MemoryBank
from rca.method.objective import ObjectiveSettings, memorise, rca_losses, region_masks
from rca.method.placement import to_image, to_view
from rca.method.prototypes import fit_prototypes, random_prototypes
from rca.models.backbones import Backbone
from rca.models.cam_network import CamMaps, CamNetwork, projection_head
from rca.models.device import placed
from rca.models.weights import save_weights
from rca.training.checkpoint import GeneratorState, Part
from rca.training.distributed import all_reduce_max_, gather, rank, world_size
from rca.training.execution import autocast, wrap_module

log = logging.getLogger(__name__)

# (training images, backbone) → the same images with the frozen blocks' output as their pixels.
KeepViews = Callable[[TrainingImages, Backbone], TrainingImages]


class CamTrainer:
    """The classification network in training, its memory and its accumulated maps: a `Trainer`.

    Attributes:
        network: The classification network, the prototypes in it.
        module: The same as the steps call it: wrapped for several processes, or compiled.
        training_head: The projection in front of the contrast, or None. Several processes see the
            same regions there, so its gradients are the same in each and need no averaging.
        memory: M of Eq. 3.
        attention: The accumulated maps, or None without OAA.
        mixup: The generator of partners and shares, reseeded in each epoch.
        batches: The batches of each epoch.
    """

    def __init__(
        self,
        cfg: TrainCam,
        compute: Compute,
        data: Index,
        seeds: Seeds,
        device: torch.device,
        keep_views: KeepViews | None = None,
    ) -> None:
        """Make everything as it is before the first step.

        Args:
            cfg: The section `train_cam`.
            compute: The precision, and whether to compile.
            data: The index, without masks.
            seeds: The generators by purpose. Initial weights draw from torch's global one.
            device: The device of this process.
            keep_views: A function that replaces the photographs by the frozen blocks' output, or
                None.
        """
        records = data.split("train")
        tags = data.tag_matrix(records)
        self.cfg, self.compute, self.seeds, self.device = cfg, compute, seeds, device
        self.classes, self.tags = data.classes, tags
        self.objective = objective_settings(cfg)
        self.network = placed(CamNetwork(len(data.classes), cfg), device).train()
        self.memory = memory_bank(cfg, len(data.classes), self.network, seeds("memory"))
        self.memory.to(device)
        self.images = [record.image for record in records]
        self.attention: AttentionStore | None = None
        if cfg.attention.accumulate:
            size = (cfg.attention.size, cfg.attention.size)
            self.attention = AttentionStore(self.images, tags, size).to(device)
        self.mixup = torch.Generator()
        self.training_head: nn.Module | None = None
        if cfg.rsc.enabled:
            head = projection_head(self.network.backbone.channels, cfg.rsc)
            self.training_head = head.to(device) if head is not None else None
        has_late_head = self.network.query_head is not None  # unused until there is contrast
        self.module = wrap_module(self.network, compute, device, has_late_head)
        images = TrainingImages(records, tags, cfg.view, seeds)
        if keep_views:
            images = keep_views(images, self.network.backbone)
        self.batches = TrainingBatches(
            images, cfg.batch_size, compute.workers, rank(), world_size()
        )

    def parts(self) -> dict[str, Part]:
        """Name everything that changes in training, for checkpoints."""
        parts: dict[str, Part] = {
            "network": self.network,
            "memory": self.memory,
            "mixup": GeneratorState(self.mixup),
        }
        if self.attention is not None:
            parts["attention"] = _AttentionState(self.attention)
        if self.training_head is not None:
            parts["projection"] = self.training_head
        return parts

    def begin_epoch(self, epoch: int) -> None:
        """Refit the prototypes to the current memory, and reseed the generator of the mixup."""
        combine_attention(self.attention)
        self.mixup.set_state(self.seeds("mixup", epoch).get_state())
        if self.cfg.rsa.enabled and epoch >= self.cfg.rsa.start_epoch:
            refit_prototypes(self.network, self.memory, self.cfg, epoch, self.seeds)

    def step(self, batch: Example, epoch: int, share: float) -> dict[str, Tensor]:
        """Compute the losses of a batch; memorise its regions and accumulate its maps.

        Args:
            batch: The training views of this process.
            epoch: The number of the epoch, 0-based.
            share: The share of the batch that these views make up, a factor on every loss.

        Returns:
            The losses of `rca_losses`.
        """
        pixels = batch.pixels.to(self.device, memory_format=torch.channels_last)
        tags, boxes = batch.tags.to(self.device), batch.boxes.to(self.device)
        assert isinstance(batch.positions, Tensor)  # of a batch
        images = [self.images[position] for position in batch.positions.tolist()]
        accumulating = self.attention is not None and epoch >= self.cfg.attention.start_epoch
        if accumulating and self.cfg.attention.drop:
            pixels = self._erase_seen(pixels, images, boxes, epoch)
        contrasting = self.objective.contrast and epoch >= self.objective.contrast_start_epoch
        with autocast(self.compute, self.device):
            maps = self.module(pixels, contrasting).float()
        memorising = epoch >= self.cfg.memory.start_epoch
        masks = None  # computed once, for the contrast and for the memory
        if contrasting or memorising:
            masks = region_masks(maps.coarse, tags, self.objective)
        losses = rca_losses(
            maps.queries,
            maps.coarse,
            maps.final,
            tags,
            self.memory,
            self.objective,
            epoch,
            self.mixup,
            gather,
            self.training_head,
            masks,
        )
        if memorising:
            self._memorise(maps, tags, batch.positions, masks)
        if accumulating:
            self._accumulate(maps.final.detach(), images, boxes, tags, epoch)
        return {name: share * value for name, value in losses.items()}

    def finish(self) -> None:
        """Give each process the maps that all of them accumulated."""
        combine_attention(self.attention)

    def save(self, folder: Path) -> None:
        """Write `weights.safetensors` and, in a CAM store's form, `attention.safetensors`."""
        save_weights(folder / "weights.safetensors", self.network, self.classes, self.cfg)
        write_attention(folder / "attention.safetensors", self.attention, self.tags)

    def _memorise(
        self, maps: CamMaps, tags: Tensor, positions: Tensor, masks: Tensor | None
    ) -> None:
        memorise(
            maps.features,
            maps.coarse,
            maps.final,
            tags,
            self.memory,
            self.objective,
            gather,
            positions.to(self.device),
            masks,
        )

    def _accumulate(
        self, final: Tensor, images: list[str], boxes: Tensor, tags: Tensor, epoch: int
    ) -> None:
        cfg = self.cfg.attention
        assert self.attention is not None
        self.attention.update(
            images,
            to_image(final, boxes, (cfg.size, cfg.size)),
            tags,
            image_scores(final),
            cfg.gate,
            missing_too=cfg.fill_missing and epoch + 1 == self.cfg.epochs,
        )

    def _erase_seen(self, pixels: Tensor, images: list[str], boxes: Tensor, epoch: int) -> Tensor:
        """Erase from the views what their images were recognised by in earlier epochs (OAA++)."""
        cfg = self.cfg.attention
        assert self.attention is not None
        draws = [self.seeds("drop", epoch, image) for image in images]
        cells = -(-self.cfg.view.size // self.cfg.backbone.stride)
        seen = to_view(self.attention.get(images), boxes, (cells, cells))
        return attention_drop(pixels, seen, draws, cfg.drop_threshold, cfg.drop_probability)


class _AttentionState:
    """The accumulated maps of all processes as a part of a checkpoint."""

    def __init__(self, attention: AttentionStore) -> None:
        self.attention = attention

    def state_dict(self) -> dict[str, Tensor]:
        """Combine the maps of all processes, and return them."""
        combine_attention(self.attention)
        return self.attention.state_dict()

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Restore the maps from a checkpoint."""
        self.attention.load_state_dict(state)


def combine_attention(attention: AttentionStore | None) -> None:
    """Give each process the maps that all of them accumulated."""
    if attention is not None:
        all_reduce_max_(attention.maps)
        all_reduce_max_(attention.seen)


def memory_bank(
    cfg: TrainCam, classes: int, network: CamNetwork, noise: torch.Generator
) -> MemoryBank:
    """Make the empty memory, with rows for the background if it is remembered."""
    return MemoryBank(
        classes + cfg.memory.background,
        cfg.memory.slots,
        network.backbone.channels,
        cfg.memory.update,
        cfg.memory.momentum,
        noise,
    )


def objective_settings(cfg: TrainCam) -> ObjectiveSettings:
    """Collect the settings of the objective from the sections of `train_cam`."""
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


def refit_prototypes(
    network: CamNetwork, memory: MemoryBank, cfg: TrainCam, epoch: int, seeds: Seeds
) -> None:
    """Fit the network's prototypes to the memory; K-means begins where they were."""
    rule = cfg.rsa.prototype_rule
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
        # The same draw in each epoch: the control must not differ from K-means by less stable
        # prototypes as well.
        prototypes, valid = random_prototypes(
            rows, filled, cfg.rsa.prototypes, seeds("prototypes"), rule
        )
    network.prototypes.copy_(prototypes)
    network.prototypes_valid.copy_(valid)
    log.info("prototypes of %d of %d classes", int(valid.any(1).sum()), len(valid))


def write_attention(path: Path, attention: AttentionStore | None, tags: Tensor) -> None:
    """Write the accumulated maps of each image's tags, each scaled to a maximum of 1."""
    shard = CamShard(bits=16)
    if attention is not None:
        for image, present in zip(attention.index, tags.bool(), strict=True):
            maps = normalise_cams(attention.get([image]))[0].cpu()
            shard.add(image, present.nonzero()[:, 0].numpy(), maps[present].numpy())
    shard.write(path)
