"""The training loop, in the open."""

from __future__ import annotations

import csv
import io
import logging
import math
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from rca.config import Optimiser
from rca.files import write_text
from rca.progress import progress
from rca.training.optimiser import base_rate, set_rate

log = logging.getLogger(__name__)


Step = Callable[[Any], dict[str, Tensor]]  # batch → losses by name; `loss` is minimised


class Batches(Protocol):
    """The batches of an epoch, by its number; the same count each epoch."""

    def __len__(self) -> int: ...

    def __call__(self, epoch: int) -> Iterable[Any]:
        """The batches of `epoch`, 0-based."""


def train(
    begin_epoch: Callable[[int], Step],
    batches: Batches,
    optimiser: torch.optim.Optimizer,
    cfg: Optimiser,
    epochs: int,
) -> list[dict[str, float]]:
    """Minimise the loss over `epochs`.

    Args:
        begin_epoch: what is to be done before an epoch (0-based), and the step to take in it.
        batches: of each epoch.
        optimiser: as `build_optimiser` makes it.
        cfg: its configuration, for the schedule.
        epochs: passes over the data.

    Returns:
        The mean of each loss, per epoch.

    Raises:
        FloatingPointError: the loss is no longer a number.
    """
    history = []
    for epoch in range(epochs):
        step = begin_epoch(epoch)
        sums: dict[str, Tensor] = {}
        title = f"epoch {epoch + 1}/{epochs}, step"
        for number, batch in enumerate(progress(batches(epoch), len(batches), title)):
            set_rate(optimiser, base_rate(cfg, epoch + number / len(batches), epochs))
            losses = step(batch)
            optimiser.zero_grad(set_to_none=True)
            losses["loss"].backward()
            optimiser.step()
            for name, value in losses.items():
                sums[name] = sums.get(name, 0) + value.detach()
        history.append({name: float(value) / len(batches) for name, value in sums.items()})
        _report(epoch, epochs, history[-1])
    return history


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
