"""The training loop, written out in full."""

from __future__ import annotations

import csv
import io
import logging
import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from rca.config import Optimiser
from rca.runtime.files import write_text
from rca.runtime.progress import progress
from rca.training.checkpoint import Checkpoints
from rca.training.distributed import all_reduce_sum, gather, rank, world_size
from rca.training.optimiser import base_rate, set_rate

log = logging.getLogger(__name__)


class Batches(Protocol):
    """The batches of every epoch; each epoch has the same number of them."""

    def __len__(self) -> int: ...

    def __call__(self, epoch: int, first: int) -> Iterable[Any]:
        """Return the batches of `epoch`, 0-based, from number `first` on."""

    def share(self, number: int) -> float:
        """Return this process's share of a batch's images; 1 if it is the only process."""


class Steps(Protocol):
    """The steps of a training, which the loop repeats."""

    @property
    def batches(self) -> Batches:
        """The batches of each epoch."""

    def begin_epoch(self, epoch: int) -> None:
        """Prepare for the first step of an epoch, 0-based."""

    def step(self, batch: Any, epoch: int, share: float) -> dict[str, Tensor]:
        """Compute the losses of a batch by name; `loss` is minimised.

        Args:
            batch: The images of the batch that this process holds.
            epoch: The number of the epoch, 0-based.
            share: The share of the batch that these images make up. The losses of all processes
                must add up to those of the whole batch.
        """


@dataclass
class Position:
    """The progress of a training.

    Attributes:
        epoch: The current epoch, 0-based.
        batch: The number of batches of this epoch that are done.
        sums: The sum of each loss over these batches.
        history: The mean of each loss in each earlier epoch.
    """

    epoch: int = 0
    batch: int = 0
    sums: dict[str, Tensor] = field(default_factory=dict)
    history: list[dict[str, float]] = field(default_factory=list)

    def state_dict(self) -> dict[str, Any]:
        """Return the progress as a part of a checkpoint; the sums have one row per process.

        Raises:
            FloatingPointError: The loss became NaN or infinite. The checkpoint before is kept.
        """
        sums = {name: gather(value[None]) for name, value in self.sums.items()}
        if sums:
            _require_finite(float(sums["loss"].sum()), self.epoch)
        return {**vars(self), "sums": sums}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the progress from a checkpoint."""
        vars(self).update(state)
        self.sums = {name: rows[rank()] for name, rows in self.sums.items()}

    def count(self, losses: dict[str, Tensor]) -> None:
        """Count a batch as done, and add up its losses."""
        self.batch += 1
        for name, value in losses.items():
            self.sums[name] = self.sums.get(name, 0) + value.detach()

    def close_epoch(self) -> dict[str, float]:
        """End the epoch: append its mean losses to the history, and return them."""
        means = {
            name: float(all_reduce_sum(value)) / self.batch for name, value in self.sums.items()
        }
        self.history.append(means)
        self.epoch, self.batch, self.sums = self.epoch + 1, 0, {}
        return means


def train(
    steps: Steps,
    optimiser: torch.optim.Optimizer,
    cfg: Optimiser,
    epochs: int,
    checkpoints: Checkpoints,
    scaler: torch.amp.GradScaler,
) -> list[dict[str, float]]:
    """Minimise the loss over `epochs`, resuming from the last checkpoint if there is one.

    Args:
        steps: The steps of the training.
        optimiser: The optimiser, as `build_optimiser` makes it.
        cfg: The optimiser's configuration, for the schedule and the gradient accumulation.
        epochs: The number of passes over the data.
        checkpoints: The checkpoints of everything that changes.
        scaler: The scaler of the loss, for float16.

    Returns:
        The mean of each loss, per epoch.

    Raises:
        FloatingPointError: The loss is NaN or infinite, at a checkpoint or the end of an epoch.
        SystemExit: A signal asked the training to stop; a checkpoint has been written.
    """
    at, batches = Position(), steps.batches
    checkpoints.restore(position=at, optimiser=optimiser, scaler=scaler)
    for epoch in range(at.epoch, epochs):
        if at.batch == 0:
            steps.begin_epoch(epoch)
        title = f"epoch {epoch + 1}/{epochs}, step"
        left = progress(batches(epoch, at.batch), len(batches) - at.batch, title)
        for number, batch in enumerate(left, start=at.batch):
            first = number - number % cfg.accumulate  # the first batch of this optimiser step
            group = min(cfg.accumulate, len(batches) - first)
            losses = steps.step(batch, epoch, batches.share(number))
            # DistributedDataParallel averages the processes' gradients; their sum is wanted.
            scaler.scale(losses["loss"] * (world_size() / group)).backward()
            at.count(losses)
            if number + 1 == first + group:
                set_rate(optimiser, base_rate(cfg, epoch + first / len(batches), epochs))
                scaler.step(optimiser)
                scaler.update()
                optimiser.zero_grad(set_to_none=True)
                if at.batch == len(batches):
                    _report(epoch, epochs, at.close_epoch())
                checkpoints.after_step(epoch * len(batches) + number + 1)
    return at.history


def _report(epoch: int, epochs: int, losses: dict[str, float]) -> None:
    _require_finite(losses["loss"], epoch)
    text = ", ".join(f"{name} {value:.4f}" for name, value in losses.items())
    log.info("epoch %d/%d: %s", epoch + 1, epochs, text)


def _require_finite(loss: float, epoch: int) -> None:
    if not math.isfinite(loss):
        raise FloatingPointError(f"the loss became {loss} in epoch {epoch + 1}: lower optimiser.lr")


def write_history(path: Path, history: list[dict[str, float]]) -> None:
    """Write one row per epoch: `epoch`, counted from 1, then each loss."""
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(["epoch", *history[0]])
    for epoch, losses in enumerate(history, start=1):
        writer.writerow([epoch, *(f"{value:.6f}" for value in losses.values())])
    write_text(path, table.getvalue())
