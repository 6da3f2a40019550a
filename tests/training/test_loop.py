"""The loop against the same training written out."""

import csv

import pytest
import torch
from torch import nn

from rca.config import Optimiser
from rca.training.loop import train, write_history
from rca.training.optimiser import build_optimiser

CFG = Optimiser(lr=0.1, schedule="poly", momentum=0.0, weight_decay=0.0, head_lr_factor=1)


class Data(list):
    def __call__(self, epoch):
        return self


def network():
    net = nn.Module()
    net.head = nn.Linear(1, 1, bias=False)
    nn.init.constant_(net.head.weight, 1.0)
    return net


def test_train__follows_the_schedule_step_by_step():
    net, data, epochs = network(), Data([1.0, 2.0, 3.0]), 2
    begun = []

    def begin_epoch(epoch):
        begun.append(epoch)
        return lambda batch: {"loss": (net.head.weight * batch).sum()}

    history = train(begin_epoch, data, build_optimiser(net, CFG), CFG, epochs)

    weight, expected = 1.0, []
    for step, batch in enumerate(list(data) * epochs):
        expected.append(weight * batch)
        weight -= 0.1 * (1 - step / 6) ** 0.9 * batch
    assert begun == [0, 1]
    assert net.head.weight.item() == pytest.approx(weight)
    assert [row["loss"] for row in history] == pytest.approx(
        [sum(expected[:3]) / 3, sum(expected[3:]) / 3]
    )


def test_train__a_loss_that_is_no_number_stops_at_once():
    net = network()

    def step(batch):
        return {"loss": net.head.weight.sum() * float("nan")}

    with pytest.raises(FloatingPointError, match=r"nan in epoch 1: lower optimiser.lr"):
        train(lambda epoch: step, Data([1.0]), build_optimiser(net, CFG), CFG, 5)


def test_write_history__one_row_an_epoch(tmp_path):
    write_history(
        tmp_path / "history.csv", [{"loss": 2.0, "final": 1.0}, {"loss": 1.5, "final": 0}]
    )
    with (tmp_path / "history.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows] == ["1", "2"]
    assert [float(row["loss"]) for row in rows] == [2.0, 1.5]


def test_step_losses__are_means_of_detached_values():
    net = network()

    def step(batch):
        return {"loss": net.head.weight.sum() * 0 + batch, "part": torch.tensor(batch) * 2}

    history = train(lambda epoch: step, Data([1.0, 3.0]), build_optimiser(net, CFG), CFG, 1)
    assert history == [{"loss": 2.0, "part": 4.0}]
