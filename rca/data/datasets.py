"""Training data for torch: which view of which image depends on the seed and the epoch alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from rca.config import View
from rca.data.images import read_image
from rca.data.index import Record
from rca.data.views import training_view

Seeds = Callable[..., torch.Generator]  # (purpose, …) → a generator of its own


class Example(NamedTuple):
    """A training view or, all fields stacked, a batch of them.

    Attributes:
        pixels: of a `TrainingView`.
        tags: (C,).
        labels: of a `TrainingView`.
        positions: which of the records it is.
        boxes: `box` of a `TrainingView`.
    """

    pixels: Tensor
    tags: Tensor
    labels: Tensor
    positions: int | Tensor
    boxes: Tensor


class TrainingImages(Dataset):
    """Views of images with their tags and, where `labels` is given, their label maps.

    An item's key is (epoch, position), so that worker processes need no state.

    Args:
        records: the images.
        tags: (N, C), image-level labels.
        view: how an image is cut.
        seeds: (purpose, epoch, image) → generator.
        labels: record → uint8 (H, W).
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
        record = self.records[position]
        labels = self.labels(record) if self.labels else None
        draws = self.seeds("view", epoch, record.image)
        view = training_view(read_image(record.file), labels, self.view, draws)
        return Example(view.pixels, self.tags[position], view.labels, position, view.box)


class EpochBatches(Sampler):
    """Batches of (epoch, position) in a fresh order each epoch."""

    def __init__(self, images: int, batch_size: int, seeds: Seeds) -> None:
        self.images, self.batch_size, self.seeds = images, batch_size, seeds
        self.epoch = 0

    def __len__(self) -> int:
        return -(-self.images // self.batch_size)

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        order = torch.randperm(self.images, generator=self.seeds("order", self.epoch)).tolist()
        for start in range(0, self.images, self.batch_size):
            yield [(self.epoch, position) for position in order[start : start + self.batch_size]]


class TrainingBatches:
    """The batches of an epoch, by its number: `batches(epoch)`; `len(batches)` of them each."""

    def __init__(self, images: TrainingImages, batch_size: int, workers: int) -> None:
        self.sampler = EpochBatches(len(images), batch_size, images.seeds)
        self.loader = DataLoader(
            images,
            batch_sampler=self.sampler,
            num_workers=workers,
            persistent_workers=workers > 0,
            generator=images.seeds("loader"),
            worker_init_fn=_one_thread,
        )

    def __len__(self) -> int:
        return len(self.sampler)

    def __call__(self, epoch: int) -> DataLoader:
        """The batches of `epoch`: `Example`s, all fields stacked."""
        self.sampler.epoch = epoch
        return self.loader


def _one_thread(_worker: int) -> None:
    torch.set_num_threads(1)
