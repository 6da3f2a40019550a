"""Training data for torch: the seed and the epoch alone decide the order and the views."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from rca.config import IGNORE, View
from rca.data.images import read_image
from rca.data.index import Record
from rca.data.views import training_view

Seeds = Callable[..., torch.Generator]  # (purpose, …) → a separate generator for each
BLANK = -1  # the position that stands for no image


class Example(NamedTuple):
    """One training view or, with all fields stacked, a batch of views.

    Attributes:
        pixels: The `pixels` of the `TrainingView`.
        tags: The image-level labels, (C,).
        labels: The `labels` of the `TrainingView`.
        positions: The image's position in the list of records, or `BLANK` for none.
        boxes: The `box` of the `TrainingView`.
    """

    pixels: Tensor
    tags: Tensor
    labels: Tensor
    positions: int | Tensor
    boxes: Tensor


class TrainingImages(Dataset):
    """Views of images with their tags and, where `labels` is given, their label maps.

    An item's key is (epoch, position), so that worker processes need no state. The position
    `BLANK` gives a grey view without tags and labels, which contributes nothing to the training.

    Args:
        records: The records of the images.
        tags: The image-level labels, (N, C).
        view: The settings of the training views.
        seeds: A function from purpose, epoch and image to a generator.
        labels: A function from a record to its label map, uint8 (H, W), or None.
    """

    def __init__(
        self,
        records: Sequence[Record],
        tags: Tensor,
        view: View,
        seeds: Seeds,
        labels: Callable[[Record], np.ndarray] | None = None,
    ) -> None:
        self.records, self.tags, self.view = records, tags, view
        self.seeds, self.labels = seeds, labels

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, key: tuple[int, int]) -> Example:
        epoch, position = key
        if position == BLANK:
            return self._blank()
        record = self.records[position]
        labels = self.labels(record) if self.labels else None
        draws = self.seeds("view", epoch, record.image)
        view = training_view(read_image(record.file), labels, self.view, draws)
        return Example(view.pixels, self.tags[position], view.labels, position, view.box)

    def _blank(self) -> Example:
        pixels = torch.zeros(3, self.view.size, self.view.size)
        labels = torch.full(pixels.shape[1:], IGNORE)
        whole = torch.tensor([0.0, 0.0, 1.0, 1.0])
        return Example(pixels, torch.zeros_like(self.tags[0]), labels, BLANK, whole)


class EpochBatches(Sampler):
    """Batches of (epoch, position) keys, reshuffled in each epoch.

    With several processes, each gets its piece of every batch, in the order of their ranks. A
    process whose piece would be empty gets one blank.

    Attributes:
        epoch: The epoch to iterate over next.
        first: The number of the batch to begin with.
    """

    def __init__(
        self, images: int, batch_size: int, seeds: Seeds, rank: int = 0, processes: int = 1
    ) -> None:
        self.images, self.batch_size, self.seeds = images, batch_size, seeds
        self.rank, self.processes = rank, processes
        self.epoch = self.first = 0

    def __len__(self) -> int:
        return -(-self.images // self.batch_size)

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        order = torch.randperm(self.images, generator=self.seeds("order", self.epoch)).tolist()
        for number in range(self.first, len(self)):
            start, end = self.piece(number)
            yield [(self.epoch, position) for position in order[start:end] or [BLANK]]

    def piece(self, number: int) -> tuple[int, int]:
        """Return the start and the end of this process's piece of a batch in the epoch's order."""
        start, size = number * self.batch_size, self.size(number)
        ends = (size * rank // self.processes for rank in (self.rank, self.rank + 1))
        first, last = (start + end for end in ends)
        return first, last

    def size(self, number: int) -> int:
        """Return the number of images in a batch, over all processes."""
        return min(self.batch_size, self.images - number * self.batch_size)


class TrainingBatches:
    """The batches of every epoch: `batches(epoch)` iterates over its `len(batches)` batches."""

    def __init__(
        self,
        images: TrainingImages,
        batch_size: int,
        workers: int,
        rank: int = 0,
        processes: int = 1,
    ) -> None:
        self.sampler = EpochBatches(len(images), batch_size, images.seeds, rank, processes)
        self.loader = DataLoader(
            images,
            batch_sampler=self.sampler,
            num_workers=workers,
            persistent_workers=workers > 0,
            generator=images.seeds("loader"),
            worker_init_fn=_prepare_worker,
        )

    def __len__(self) -> int:
        return len(self.sampler)

    def __call__(self, epoch: int, first: int = 0) -> DataLoader:
        """Return the batches of an epoch: `Example`s with all fields stacked.

        Args:
            epoch: The number of the epoch, 0-based.
            first: The number of the batch to begin with; earlier ones are not read.
        """
        self.sampler.epoch, self.sampler.first = epoch, first
        return self.loader

    def share(self, number: int) -> float:
        """Return this process's share of a batch's images; 1 if it is the only process."""
        start, end = self.sampler.piece(number)
        return (end - start) / self.sampler.size(number)


def _prepare_worker(_worker: int) -> None:
    torch.set_num_threads(1)
    # A cluster signals every process of a job. Only the parent reacts to the signal, and it needs
    # its workers' batches until the step is done.
    for number in (signal.SIGTERM, signal.SIGUSR1):
        signal.signal(number, signal.SIG_IGN)
