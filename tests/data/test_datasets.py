"""Which view of which image: a function of seed and epoch, whatever the worker processes do."""

import numpy as np
import pytest
import torch
from PIL import Image

from rca.config import View
from rca.data.datasets import EpochBatches, TrainingBatches, TrainingImages
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
