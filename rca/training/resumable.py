"""What both trainings share: seeds, processes, checkpoints, the loop, whole results."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import nn

from rca.config import Compute, TrainCam, TrainSeg
from rca.data.datasets import Seeds
from rca.models.device import prepare
from rca.runtime.files import new_folder
from rca.runtime.state import state_folder
from rca.training.checkpoint import Checkpoints, GeneratorState, Part
from rca.training.distributed import is_rank_zero, rank, session
from rca.training.execution import execution_settings, grad_scaler
from rca.training.loop import Steps, train, write_history
from rca.training.optimiser import build_optimiser
from rca.training.seeds import derive_seed, generator, global_seed


class Trainer(Steps, Protocol):
    """A network in training, with what it needs in each step and all that changes beside it."""

    @property
    def network(self) -> nn.Module:
        """The network that is trained and saved."""

    @property
    def training_head(self) -> nn.Module | None:
        """A module that is trained with it and not saved, or None."""

    def parts(self) -> dict[str, Part]:
        """Name everything that changes in training, for checkpoints."""

    def finish(self) -> None:
        """Gather the processes' results; called in each of them after the last step."""

    def save(self, folder: Path) -> None:
        """Write the results into a folder; called in the first process alone."""


def resumable_training(
    module: str,
    cfg: TrainCam | TrainSeg,
    compute: Compute,
    seed: int,
    build: Callable[[Seeds, torch.device], Trainer],
    *,
    files: Iterable[Path],
    sums: Mapping[Path, str],
    out: Path,
    state: Path,
    values: Mapping[str, Any] | None = None,
) -> None:
    """Train, from the last checkpoint on if there is one, and publish the result as a whole.

    Args:
        module: The stage's module, `rca.stages.train_cam`. Its code names the checkpoints' folder,
            and its last part is a part of every seed.
        cfg: The stage's section.
        compute: The device, and how to use it.
        seed: The seed of every random choice.
        build: A function from seeds by purpose and a device to what is trained. Initial weights
            may draw from torch's global generator.
        files: The files that the training reads; their contents name its checkpoints' folder.
        sums: The SHA-256 of those files whose content is known.
        out: The folder that gets what the trainer saves, and `history.csv`.
        state: The folder of all stages' checkpoints.
        values: Further values that the result depends on.
    """
    stage = module.rpartition(".")[2]
    device = prepare(compute)
    seeds = partial(generator, seed, stage)
    with session(device), global_seed(derive_seed(seed, stage, "weights"), device) as dropout:
        trainer = build(seeds, device)
        if rank():  # each process draws its dropout independently
            torch.manual_seed(derive_seed(seed, stage, "dropout", rank()))
        depends_on = {
            "section": cfg.model_dump(mode="json"),
            "seed": seed,
            **execution_settings(compute, device),
            **(values or {}),
        }
        folder = state_folder(state, module, out, values=depends_on, files=files, sums=sums)
        parts = {**trainer.parts(), "dropout": GeneratorState(dropout)}
        checkpoints = Checkpoints(folder, compute.checkpoint_steps, parts)
        optimiser = build_optimiser(trainer.network, cfg.optimiser, trainer.training_head)
        scaler = grad_scaler(compute, device)
        with checkpoints.listening():
            history = train(trainer, optimiser, cfg.optimiser, cfg.epochs, checkpoints, scaler)
            trainer.finish()
            if is_rank_zero():
                with new_folder(out) as made:
                    trainer.save(made)
                    write_history(made / "history.csv", history)
        checkpoints.remove()
