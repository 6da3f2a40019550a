"""The training loop, in the open."""

from __future__ import annotations

import csv
import io
import logging
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from rca.config import Optimiser
from rca.files import write_text
from rca.progress import progress
from rca.training.optimiser import base_rate, set_rate

log = logging.getLogger(__name__)


def train_one_epoch(
    step: Callable[[Any], dict[str, Tensor]],
    batches: Iterable[Any],
    steps: int,
    optimiser: torch.optim.Optimizer,
    cfg: Optimiser,
    epoch: int,
    epochs: int,
) -> dict[str, float]:
    """Run `step` and the optimiser over one epoch.

    Args:
        step: batch → its losses by name; `loss` is the one that is minimised.
        batches: the epoch's batches.
        steps: how many there are.
        optimiser: as `build_optimiser` makes it.
        cfg: its configuration, for the schedule.
        epoch: 0-based.
        epochs: of the whole training.

    Returns:
        The mean of each loss.

    Raises:
        FloatingPointError: the loss is no longer a number.
    """
    sums: dict[str, Tensor] = {}
    title = f"epoch {epoch + 1}/{epochs}, step"
    for number, batch in enumerate(progress(batches, steps, title)):
        set_rate(optimiser, base_rate(cfg, epoch + number / steps, epochs))
        losses = step(batch)
        optimiser.zero_grad(set_to_none=True)
        losses["loss"].backward()
        optimiser.step()
        for name, value in losses.items():
            sums[name] = sums.get(name, torch.zeros(())) + value.detach().cpu()
    means = {name: float(value) / steps for name, value in sums.items()}
    if not torch.isfinite(torch.tensor(means["loss"])):
        raise FloatingPointError(
            f"the loss became {means['loss']} in epoch {epoch + 1}: lower optimiser.lr"
        )
    text = ", ".join(f"{name} {value:.4f}" for name, value in means.items())
    log.info("epoch %d/%d: %s", epoch + 1, epochs, text)
    return means


def write_history(path: Path, history: list[dict[str, float]]) -> None:
    """Write one row an epoch: `epoch`, counted from 1, then each loss."""
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(["epoch", *history[0]])
    for epoch, losses in enumerate(history, start=1):
        writer.writerow([epoch, *(f"{value:.6f}" for value in losses.values())])
    write_text(path, table.getvalue())
