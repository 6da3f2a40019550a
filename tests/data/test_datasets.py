"""Which view of which image: a function of seed and epoch, whatever the worker processes do."""

import multiprocessing
import os
import signal

import numpy as np
import pytest
import torch
from PIL import Image

from rca.config import View
from rca.data.datasets import BLANK, EpochBatches, TrainingBatches, TrainingImages
from rca.data.index import Record

VIEW = View(mode="crop", size=8, scale=(0.8, 1.2), flip=True, jitter=0.3, hue=0.0)


def seeds(*purpose):
    return torch.Generator().manual_seed(sum(map(ord, str(purpose))) * 7919)


def images(folder, count=5, labels=None) -> TrainingImages:
    records = []
    for number in range(count):
        path = folder / f"{number}.png"
        pixels = np.random.default_rng(number).integers(0, 256, (10, 12, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(path)
        records.append(Record(str(number), "train", path, None, None, 12, 10, ()))
    return TrainingImages(records, torch.eye(count), VIEW, seeds, labels)


def test_epoch_batches__every_image_once_an_epoch():
    sampler = EpochBatches(7, 3, seeds)
    batches = list(sampler)
    assert [len(batch) for batch in batches] == [3, 3, 1] and len(sampler) == 3
    assert sorted(position for batch in batches for _, position in batch) == list(range(7))


def test_epoch_batches__the_order_depends_on_the_epoch_alone():
    sampler = EpochBatches(20, 20, seeds)
    orders = []
    for epoch in (0, 1, 0):
        sampler.epoch = epoch
        orders.append([position for _, position in next(iter(sampler))])
    assert orders[0] == orders[2] != orders[1]


@pytest.mark.parametrize("processes", [2, 3])
def test_epoch_batches__of_several_processes_are_the_pieces_of_one(processes):
    whole = list(EpochBatches(10, 4, seeds))
    shared = [EpochBatches(10, 4, seeds, rank, processes) for rank in range(processes)]
    for batch, *pieces in zip(whole, *shared, strict=True):
        assert [key for piece in pieces for key in piece if key[1] != BLANK] == batch
        assert all(pieces)  # none is empty: the processes take every step together


@pytest.mark.parametrize("processes", [1, 2, 3])
def test_training_batches__share_is_the_part_of_the_images(tmp_path, processes):
    data = images(tmp_path, count=7)
    shared = [TrainingBatches(data, 4, 0, rank, processes) for rank in range(processes)]
    for number, size in enumerate([4, 3]):
        counts = [len([key for key in list(b.sampler)[number] if key[1] >= 0]) for b in shared]
        assert [b.share(number) for b in shared] == [count / size for count in counts]


@pytest.mark.parametrize("workers", [0, 1])
def test_training_batches__begin_where_they_are_asked_to(tmp_path, workers):
    batches = TrainingBatches(images(tmp_path), 2, workers)
    whole = [batch[0] for batch in batches(1)]
    part = [batch[0] for batch in batches(1, first=1)]
    assert len(part) == 2
    assert all(torch.equal(a, b) for a, b in zip(part, whole[1:], strict=True))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_training_batches__a_signal_to_every_process_leaves_the_workers_to_the_parent(
    tmp_path, number
):
    batches = iter(TrainingBatches(images(tmp_path, count=9), 1, workers=1)(0))
    next(batches)
    [worker] = multiprocessing.active_children()
    os.kill(worker.pid, number)
    assert len(list(batches)) == 8


def test_training_images__a_blank_has_neither_tags_nor_labels(tmp_path):
    data = images(tmp_path, labels=lambda record: np.zeros((10, 12), np.uint8))
    image, tags, labels, *_ = data[0, BLANK]
    assert image.shape == data[0, 0][0].shape and not image.any()
    assert tags.shape == (5,) and not tags.any()
    assert labels.shape == data[0, 0][2].shape and (labels == 255).all()
    assert labels.dtype == data[0, 0][2].dtype


@pytest.mark.parametrize("workers", [0, 1])
def test_training_batches__are_the_same_with_and_without_workers(tmp_path, workers):
    data = images(tmp_path)
    batches = TrainingBatches(data, 2, workers)
    for epoch in (0, 1):
        found = [(batch.pixels, batch.tags) for batch in batches(epoch)]
        order = [position for batch in epoch_order(data, epoch) for _, position in batch]
        expected = [data[epoch, position] for position in order]
        assert torch.equal(
            torch.cat([image for image, _ in found]), torch.stack([e[0] for e in expected])
        )
        assert torch.equal(
            torch.cat([tags for _, tags in found]), torch.stack([e[1] for e in expected])
        )


def epoch_order(data, epoch):
    sampler = EpochBatches(len(data), 2, data.seeds)
    sampler.epoch = epoch
    return sampler


def test_training_images__views_differ_between_epochs(tmp_path):
    data = images(tmp_path)
    assert not torch.equal(data[0, 0][0], data[1, 0][0])


def test_training_images__labels_come_from_the_reader(tmp_path):
    data = images(tmp_path, labels=lambda record: np.full((10, 12), int(record.image), np.uint8))
    assert set(data[0, 3][2].unique().tolist()) <= {3, 255}
