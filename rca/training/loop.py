"""The training loop, in the open."""

from __future__ import annotations

import csv
import io
import logging
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from rca.config import Optimiser
from rca.runtime.files import write_text
from rca.runtime.progress import progress
from rca.training.checkpoint import Checkpoints
from rca.training.distributed import gather, processes, rank, total
from rca.training.optimiser import base_rate, set_rate

log = logging.getLogger(__name__)


# (batch, epoch, share) → losses by name, summed over all processes; `loss` is minimised.
# `share` is the part of the batch's images that this process holds.
Step = Callable[[Any, int, float], dict[str, Tensor]]


class Batches(Protocol):
    """The batches of an epoch, by its number; the same count each epoch."""

    def __len__(self) -> int: ...

    def __call__(self, epoch: int, first: int) -> Iterable[Any]:
        """The batches of `epoch`, 0-based, from number `first` on."""

    def share(self, number: int) -> float:
        """How much of the images of batch `number` this process gets; 1 if it is the only one."""


@dataclass
class Position:
    """How far a training has come.

    Attributes:
        epoch: 0-based.
        batch: batches of this epoch that are done.
        sums: of each loss over them.
        history: mean of each loss, for each epoch before.
    """

    epoch: int = 0
    batch: int = 0
    sums: dict[str, Tensor] = field(default_factory=dict)
    history: list[dict[str, float]] = field(default_factory=list)

    def state_dict(self) -> dict[str, Any]:
        """As a part of a checkpoint; of the sums one row a process."""
        return {**vars(self), "sums": {name: gather(s[None]) for name, s in self.sums.items()}}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go to where another was."""
        vars(self).update(state)
        self.sums = {name: rows[rank()] for name, rows in self.sums.items()}

    def count(self, losses: dict[str, Tensor]) -> None:
        """One more batch is done."""
        self.batch += 1
        for name, value in losses.items():
            self.sums[name] = self.sums.get(name, 0) + value.detach()

    def close_epoch(self) -> dict[str, float]:
        """The epoch's means, put into the history."""
        means = {name: float(total(value)) / self.batch for name, value in self.sums.items()}
        self.history.append(means)
        self.epoch, self.batch, self.sums = self.epoch + 1, 0, {}
        return means


def train(
    begin_epoch: Callable[[int], None],
    step: Step,
    batches: Batches,
    optimiser: torch.optim.Optimizer,
    cfg: Optimiser,
    epochs: int,
    checkpoints: Checkpoints,
    scaler: torch.amp.GradScaler,
) -> list[dict[str, float]]:
    """Minimise the loss over `epochs`, from the last checkpoint on.

    Args:
        begin_epoch: what is to be done before an epoch (0-based).
        step: the losses of a batch.
        batches: of each epoch.
        optimiser: as `build_optimiser` makes it.
        cfg: its configuration, for the schedule and the accumulation.
        epochs: passes over the data.
        checkpoints: of all that changes.
        scaler: of the loss, for float16.

    Returns:
        The mean of each loss, per epoch.

    Raises:
        FloatingPointError: the loss is no longer a number.
        SystemExit: a signal asked to stop; a checkpoint is written.
    """
    at = Position()
    checkpoints.restore(position=at, optimiser=optimiser, scaler=scaler)
    for epoch in range(at.epoch, epochs):
        if at.batch == 0:
            begin_epoch(epoch)
        title = f"epoch {epoch + 1}/{epochs}, step"
        left = progress(batches(epoch, at.batch), len(batches) - at.batch, title)
        for number, batch in enumerate(left, start=at.batch):
            first = number - number % cfg.accumulate  # of those that share a step
            group = min(cfg.accumulate, len(batches) - first)
            losses = step(batch, epoch, batches.share(number))
            # DistributedDataParallel takes the mean of the processes' gradients.
            scaler.scale(losses["loss"] * (processes() / group)).backward()
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
    if not math.isfinite(losses["loss"]):
        raise FloatingPointError(
            f"the loss became {losses['loss']} in epoch {epoch + 1}: lower optimiser.lr"
        )
    text = ", ".join(f"{name} {value:.4f}" for name, value in losses.items())
    log.info("epoch %d/%d: %s", epoch + 1, epochs, text)


def write_history(path: Path, history: list[dict[str, float]]) -> None:
    """Write one row an epoch: `epoch`, counted from 1, then each loss."""
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(["epoch", *history[0]])
    for epoch, losses in enumerate(history, start=1):
        writer.writerow([epoch, *(f"{value:.6f}" for value in losses.values())])
    write_text(path, table.getvalue())
