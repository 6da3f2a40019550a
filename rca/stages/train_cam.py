"""Stage `train_cam`: train the classification network, with RSC and RSA as configured."""

from __future__ import annotations

import logging
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from rca.config import Compute, TrainCam
from rca.data.datasets import TrainingBatches, TrainingImages
from rca.data.index import read_training_index
from rca.files import new_folder
from rca.method.memory import MemoryBank
from rca.method.objective import ObjectiveSettings, memorise, rca_losses
from rca.method.prototypes import fit_prototypes
from rca.models.cam_network import CamNetwork
from rca.models.weights import save_weights
from rca.training.device import prepare
from rca.training.loop import Step, train, write_history
from rca.training.optimiser import build_optimiser
from rca.training.seeds import derive_seed, generator

log = logging.getLogger(__name__)


def run(cfg: TrainCam, compute: Compute, seed: int, *, index: Path, out: Path) -> None:
    """Train on the index's training images and tags; masks and validation images are out of reach.

    Args:
        cfg: section `train_cam`.
        compute: device and threads.
        seed: of every random choice.
        index: folder of the index.
        out: folder that gets `weights.safetensors` and `history.csv`.
    """
    data = read_training_index(index)
    records = data.split("train")
    tags = torch.stack([data.tag_vector(record) for record in records])
    device = prepare(compute)
    seeds = partial(generator, seed, "train_cam")
    with torch.random.fork_rng():
        torch.manual_seed(derive_seed(seed, "train_cam", "weights"))
        network = CamNetwork(len(data.classes), cfg)
    network = network.to(device, memory_format=torch.channels_last).train()
    memory = MemoryBank(len(data.classes), cfg.memory.slots, network.backbone.channels).to(device)
    optimiser = build_optimiser(network, cfg.optimiser)
    images = TrainingImages(records, tags, cfg.view, seeds)
    batches = TrainingBatches(images, cfg.batch_size, compute.workers)

    def begin_epoch(epoch: int) -> Step:
        if cfg.rsa.enabled and epoch >= cfg.rsa.start_epoch:
            _refit_prototypes(network, memory, seeds("prototypes", epoch))
        return partial(_step, network, memory, settings(cfg), epoch, seeds("mixup", epoch))

    history = train(begin_epoch, batches, optimiser, cfg.optimiser, cfg.epochs)
    with new_folder(out) as folder:
        save_weights(folder / "weights.safetensors", network, data.classes, cfg)
        write_history(folder / "history.csv", history)


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
    )


def _step(
    network: CamNetwork,
    memory: MemoryBank,
    objective: ObjectiveSettings,
    epoch: int,
    draws: torch.Generator,
    batch: tuple[Tensor, Tensor, Tensor],
) -> dict[str, Tensor]:
    device = memory.rows.device
    images, tags = batch[0].to(device, memory_format=torch.channels_last), batch[1].to(device)
    maps = network(images)
    parts = (maps.features, maps.coarse, maps.final, tags, memory, objective)
    losses = rca_losses(*parts, epoch=epoch, generator=draws)
    memorise(*parts)
    return losses


def _refit_prototypes(network: CamNetwork, memory: MemoryBank, draws: torch.Generator) -> None:
    """K-means over the memory, from where the prototypes were; once an epoch."""
    prototypes, valid = fit_prototypes(
        memory.rows,
        memory.filled,
        network.rsa.prototypes,
        generator=draws,
        previous=network.prototypes,
        previous_valid=network.prototypes_valid,
    )
    network.prototypes.copy_(prototypes)
    network.prototypes_valid.copy_(valid)
    log.info("prototypes of %d of %d classes", int(valid.any(1).sum()), len(valid))
