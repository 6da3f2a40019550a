"""The training of the segmentation network: its labels, its loss and its steps."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from rca.config import IGNORE, Compute, TrainSeg
from rca.data.datasets import Example, Seeds, TrainingBatches, TrainingImages
from rca.data.images import DataError, read_mask
from rca.data.index import Index, Record
from rca.models.deeplab import DeepLab
from rca.models.device import placed
from rca.models.weights import save_weights
from rca.training.checkpoint import Part
from rca.training.distributed import all_reduce_sum, rank, world_size
from rca.training.execution import autocast, wrap_module

ReadLabels = Callable[[Record], np.ndarray]


class SegmentationTrainer:
    """The segmentation network in training on label maps: a `Trainer`.

    Attributes:
        network: The segmentation network.
        module: The same as the steps call it: wrapped for several processes, or compiled.
        training_head: None; nothing is trained beside the network.
        batches: The batches of each epoch.
    """

    def __init__(
        self,
        cfg: TrainSeg,
        compute: Compute,
        data: Index,
        read_labels: ReadLabels,
        seeds: Seeds,
        device: torch.device,
    ) -> None:
        """Make everything as it is before the first step.

        Args:
            cfg: The section `train_seg`.
            compute: The precision, and whether to compile.
            data: The index.
            read_labels: A function from a record to its label map, uint8 (H, W).
            seeds: The generators by purpose. Initial weights draw from torch's global one.
            device: The device of this process.
        """
        self.cfg, self.compute, self.device = cfg, compute, device
        self.classes = data.classes
        self.network = placed(DeepLab(len(data.classes), cfg), device).train()
        self.training_head = None
        self.module = wrap_module(self.network, compute, device)
        records = data.split("train")
        images = TrainingImages(records, data.tag_matrix(records), cfg.view, seeds, read_labels)
        self.batches = TrainingBatches(
            images, cfg.batch_size, compute.workers, rank(), world_size()
        )

    def parts(self) -> dict[str, Part]:
        """Name everything that changes in training, for checkpoints."""
        return {"network": self.network}

    def begin_epoch(self, epoch: int) -> None:
        """Do nothing: no epoch needs preparation."""

    def step(self, batch: Example, epoch: int, share: float) -> dict[str, Tensor]:
        """Compute the loss of a batch.

        Args:
            batch: The training views of this process, with label maps.
            epoch: Not used.
            share: Not used; the loss divides by the pixels of all processes.

        Returns:
            `loss`.
        """
        pixels = batch.pixels.to(self.device, memory_format=torch.channels_last)
        with autocast(self.compute, self.device):
            logits = self.module(pixels)
        labels = batch.labels.to(self.device)
        return {
            "loss": segmentation_loss(logits.float(), labels, self.cfg.balanced, all_reduce_sum)
        }

    def finish(self) -> None:
        """Do nothing: every process has the whole network."""

    def save(self, folder: Path) -> None:
        """Write `weights.safetensors`."""
        save_weights(folder / "weights.safetensors", self.network, self.classes, self.cfg)


def label_reader(data: Index, supervision: str, labels: Path) -> Callable[[Record], np.ndarray]:
    """Return a function that reads the label map of an image.

    Args:
        data: The index.
        supervision: `truth` reads the true masks. Any other reads the label maps in `labels`.
        labels: The folder of label maps.

    Raises:
        DataError: The truth is asked for, and a training image has no mask.
    """
    if supervision == "truth":
        without = [record.image for record in data.split("train") if record.mask is None]
        if without:
            raise DataError(
                f"{len(without)} training images have no mask to learn from, such as {without[0]}; "
                "leave `truth` out of train_seg.supervisions"
            )
        return data.truth

    def read(record: Record) -> np.ndarray:
        path = label_file(labels, record)
        marks = read_mask(path)
        if marks.shape != (record.height, record.width):
            raise DataError(
                f"{path}: is {marks.shape[1]} × {marks.shape[0]}, the image is "
                f"{record.width} × {record.height}; make the labels again"
            )
        return marks

    return read


def label_file(labels: Path, record: Record) -> Path:
    """Return the path of the label map of an image."""
    return labels / f"{record.image}.png"


def segmentation_loss(
    logits: Tensor,
    labels: Tensor,
    balanced: bool = False,
    total: Callable[[Tensor], Tensor] = lambda count: count,
) -> Tensor:
    """Compute the mean cross-entropy over labelled pixels; zero where all are ignored.

    With several processes, each gets its part of the mean over all processes' pixels; the sum of
    the parts is that mean.

    Args:
        logits: The logits, (B, C + 1, H, W).
        labels: The label maps, int64 (B, H, W); 255 is ignored.
        balanced: Whether to average the mean over the background's pixels and the mean over the
            classes' pixels, similar to Kolesnikov & Lampert's and later seeding losses.
        total: A function from a count of pixels to its sum over all processes.
    """
    pixels = F.cross_entropy(logits, labels, ignore_index=IGNORE, reduction="none")  # (B, H, W)
    known = labels != IGNORE
    if not balanced:
        return pixels.sum() / total(known.sum()).clamp_min(1)
    background = labels == 0
    first, second = (
        pixels[part].sum() / total(part.sum()).clamp_min(1)
        for part in (background, known & ~background)
    )
    return (first + second) / 2
