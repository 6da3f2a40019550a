"""The loop against the same training written out, and killed and resumed against undisturbed."""

from __future__ import annotations

import csv
import os
import signal
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from rca.config import Optimiser
from rca.training.checkpoint import Checkpoints, GeneratorState
from rca.training.loop import train, write_history
from rca.training.optimiser import build_optimiser

CFG = Optimiser(lr=0.1, schedule="poly", momentum=0.0, weight_decay=0.0, head_lr_factor=1)


class Data(list):
    """The same batches each epoch; notes which were read in the last one."""

    read = ()

    def __call__(self, epoch, first):
        self.read = []
        for batch in self[first:]:
            self.read.append(batch)
            yield batch

    def share(self, number):
        return 1.0


def network():
    net = nn.Module()
    net.head = nn.Linear(1, 1, bias=False)
    nn.init.constant_(net.head.weight, 1.0)
    return net


def run(folder, net, step, data, cfg=CFG, epochs=2, begin_epoch=lambda epoch: None, **parts):
    checkpoints = Checkpoints(folder, 1, {"network": net, **parts})
    scaler = torch.amp.GradScaler("cpu", enabled=False)
    optimiser = build_optimiser(net, cfg)
    with checkpoints.listening():
        steps = SimpleNamespace(batches=data, begin_epoch=begin_epoch, step=step)
        return train(steps, optimiser, cfg, epochs, checkpoints, scaler)


def test_train__follows_the_schedule_step_by_step(tmp_path):
    net, data = network(), Data([1.0, 2.0, 3.0])
    begun = []

    def step(batch, epoch, share):
        return {"loss": (net.head.weight * batch).sum()}

    history = run(tmp_path, net, step, data, begin_epoch=begun.append)

    weight, expected = 1.0, []
    for number, batch in enumerate(list(data) * 2):
        expected.append(weight * batch)
        weight -= 0.1 * (1 - number / 6) ** 0.9 * batch
    assert begun == [0, 1]
    assert net.head.weight.item() == pytest.approx(weight)
    assert [row["loss"] for row in history] == pytest.approx(
        [sum(expected[:3]) / 3, sum(expected[3:]) / 3]
    )


def test_train__accumulates_the_mean_gradient_of_some_batches(tmp_path):
    net, data = network(), Data([1.0, 2.0, 4.0])

    def step(batch, epoch, share):
        return {"loss": (net.head.weight * batch).sum()}

    run(tmp_path, net, step, data, CFG.model_copy(update={"accumulate": 2}), epochs=1)

    # The third batch is alone: an epoch ends with a step.
    expected = 1 - 0.1 * (1 + 2) / 2 - 0.1 * (1 - 2 / 3) ** 0.9 * 4
    assert net.head.weight.item() == pytest.approx(expected)


def test_train__a_loss_that_is_no_number_stops_at_once(tmp_path):
    net = network()

    def step(batch, epoch, share):
        return {"loss": net.head.weight.sum() * float("nan")}

    with pytest.raises(FloatingPointError, match=r"nan in epoch 1: lower optimiser.lr"):
        run(tmp_path, net, step, Data([1.0]), epochs=5)


def test_train__a_loss_that_is_no_number_is_in_no_checkpoint(tmp_path):
    net, done = network(), []

    def step(batch, epoch, share):
        done.append(batch)
        return {"loss": net.head.weight.sum() * batch}

    data = Data([1.0, float("inf"), 2.0, 3.0])
    with pytest.raises(FloatingPointError, match=r"inf in epoch 1: lower optimiser.lr"):
        run(tmp_path, net, step, data)
    assert len(done) == 2  # there is a checkpoint after each step
    assert [file.name for file in tmp_path.iterdir()] == ["step-000000001.safetensors"]


class Killed(BaseException):
    pass


def training(folder, stop=None):
    """A training with momentum, dropout and a random state begun anew each epoch.

    Args:
        folder: of its checkpoints.
        stop: called with the number of each step, before it.

    Returns:
        Its weights and history, the epochs that it began and the batches that it read.
    """
    cfg = CFG.model_copy(update={"momentum": 0.9, "accumulate": 2})
    net, data, begun, steps = network(), Data([0.5, -1.0, 2.0, 0.25, 1.5]), [], [0]
    draws = torch.Generator()
    dropout = torch.Generator().manual_seed(7)

    def begin_epoch(epoch):
        begun.append(epoch)
        draws.manual_seed(epoch)

    def step(batch, epoch, share):
        if stop:
            stop(steps[0])
        steps[0] += 1
        noise = torch.rand((), generator=draws) + torch.rand((), generator=dropout)
        loss = ((net.head.weight * batch - noise) ** 2).sum()
        return {"loss": loss, "noise": noise}

    states = {"draws": GeneratorState(draws), "dropout": GeneratorState(dropout)}
    history = run(folder, net, step, data, cfg, 3, begin_epoch, **states)
    return net.head.weight, history, begun, data.read


@pytest.mark.parametrize("at", [1, 4, 5, 7, 13, 14])
def test_train__killed_ends_as_if_undisturbed(tmp_path, at):
    weight, history, *_ = training(tmp_path / "undisturbed")

    def kill(step):
        if step == at:
            raise Killed

    with pytest.raises(Killed):
        training(tmp_path / "killed", kill)
    resumed, again, begun, read = training(tmp_path / "killed")

    assert torch.equal(resumed, weight) and again == history
    # Within an epoch it is not begun again, and no batch is read twice; two batches make a step.
    epoch, batch = divmod(at, 5)
    batch -= batch % 2
    assert begun == list(range(epoch + (batch > 0), 3))
    if epoch == 2:
        assert len(read) == 5 - batch


def test_train__stopped_by_a_signal_ends_as_if_undisturbed(tmp_path):
    weight, history, *_ = training(tmp_path / "undisturbed")

    def ask(step):
        if step == 7:
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(SystemExit) as end:
        training(tmp_path / "stopped", ask)
    assert end.value.code == 143
    resumed, again, *_ = training(tmp_path / "stopped")
    assert torch.equal(resumed, weight) and again == history


def test_train__finished_but_not_written_trains_no_more(tmp_path):
    weight, history, *_ = training(tmp_path)

    def never(step):
        raise AssertionError(f"step {step}")

    resumed, again, begun, _ = training(tmp_path, never)
    assert torch.equal(resumed, weight) and again == history and begun == []


def test_write_history__one_row_an_epoch(tmp_path):
    write_history(
        tmp_path / "history.csv", [{"loss": 2.0, "final": 1.0}, {"loss": 1.5, "final": 0}]
    )
    with (tmp_path / "history.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows] == ["1", "2"]
    assert [float(row["loss"]) for row in rows] == [2.0, 1.5]


def test_step_losses__are_means_of_detached_values(tmp_path):
    net = network()

    def step(batch, epoch, share):
        return {"loss": net.head.weight.sum() * 0 + batch, "part": torch.tensor(batch) * 2}

    history = run(tmp_path, net, step, Data([1.0, 3.0]), epochs=1)
    assert history == [{"loss": 2.0, "part": 4.0}]
