"""Stage `train_seg`: train the segmentation network on label maps, ignoring 255."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rca.config import IGNORE, Compute, TrainSeg
from rca.data.datasets import Example, TrainingBatches, TrainingImages
from rca.data.images import DataError, read_mask
from rca.data.index import Index, Record, read_index
from rca.files import new_folder
from rca.models.deeplab import DeepLab
from rca.models.weights import save_weights
from rca.training.device import prepare
from rca.training.loop import train, write_history
from rca.training.optimiser import build_optimiser
from rca.training.seeds import derive_seed, generator


def run(
    cfg: TrainSeg,
    compute: Compute,
    seed: int,
    *,
    supervision: str,
    index: Path,
    labels: Path,
    out: Path,
) -> None:
    """Train on the training images with one label map each.

    Both supervisions share every random choice, so that the labels are all that differs.

    Args:
        cfg: section `train_seg`.
        compute: device and threads.
        seed: of every random choice.
        supervision: `pseudo` reads the label maps in `labels`; `truth` the true masks, for an
            upper bound.
        index: folder of the index.
        labels: folder of refined label maps.
        out: folder that gets `weights.safetensors` and `history.csv`.
    """
    data = read_index(index)
    records = data.split("train")
    device = prepare(compute)
    seeds = partial(generator, seed, "train_seg")
    tags = torch.stack([data.tag_vector(record) for record in records])
    images = TrainingImages(records, tags, cfg.view, seeds, label_reader(data, supervision, labels))
    batches = TrainingBatches(images, cfg.batch_size, compute.workers)
    with torch.random.fork_rng():
        # Initial weights, and dropout, which has no generator of its own.
        torch.manual_seed(derive_seed(seed, "train_seg", "weights"))
        network = DeepLab(len(data.classes), cfg)
        network = network.to(device, memory_format=torch.channels_last).train()
        optimiser = build_optimiser(network, cfg.optimiser)
        step = partial(_step, network, device, cfg.balanced)
        history = train(lambda _epoch: step, batches, optimiser, cfg.optimiser, cfg.epochs)
    with new_folder(out) as folder:
        save_weights(folder / "weights.safetensors", network, data.classes, cfg)
        write_history(folder / "history.csv", history)


def label_reader(data: Index, supervision: str, labels: Path) -> Callable[[Record], np.ndarray]:
    """How to get the label map of an image: from `labels`, or from the truth."""
    if supervision == "truth":
        return data.truth

    def read(record: Record) -> np.ndarray:
        path = labels / f"{record.image}.png"
        marks = read_mask(path)
        if marks.shape != (record.height, record.width):
            raise DataError(
                f"{path}: is {marks.shape[1]} × {marks.shape[0]}, the image is "
                f"{record.width} × {record.height}; make the labels again"
            )
        return marks

    return read


def segmentation_loss(logits: Tensor, labels: Tensor, balanced: bool = False) -> Tensor:
    """Mean cross-entropy over labelled pixels; zero where all are ignored.

    Args:
        logits: (B, C + 1, H, W).
        labels: int64 (B, H, W), 255 ignored.
        balanced: take the mean over the background's pixels and the mean over the classes' pixels,
            and halve their sum (Kolesnikov & Lampert's and later seeding losses do alike).
    """
    pixels = F.cross_entropy(logits, labels, ignore_index=IGNORE, reduction="none")  # (B, H, W)
    known = labels != IGNORE
    if not balanced:
        return pixels.sum() / known.sum().clamp_min(1)
    background = labels == 0
    halves = (
        pixels[part].sum() / part.sum().clamp_min(1) for part in (background, known & ~background)
    )
    return sum(halves) / 2


def _step(
    network: nn.Module,
    device: torch.device,
    balanced: bool,
    batch: Example,
) -> dict[str, Tensor]:
    images = batch.pixels.to(device, memory_format=torch.channels_last)
    return {"loss": segmentation_loss(network(images), batch.labels.to(device), balanced)}
