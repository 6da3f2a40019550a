"""Stage `train_cam`: train the classification network, with RSC, RSA and OAA as configured."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import torch

from rca.config import Compute, ConfigError, TrainCam
from rca.data.checksums import unchanged_sums
from rca.data.datasets import Seeds
from rca.data.index import read_training_index
from rca.runtime.state import STATE
from rca.training.cam_training import CamTrainer
from rca.training.frozen_views import FrozenViews
from rca.training.resumable import resumable_training


def run(
    cfg: TrainCam,
    compute: Compute,
    seed: int,
    *,
    index: Path,
    out: Path,
    state: Path = STATE,
    views: Path | None = None,
) -> None:
    """Train on the index's training images and tags; masks and validation images are out of reach.

    A killed training resumes.

    Args:
        cfg: The section `train_cam`.
        compute: The device and the number of threads.
        seed: The seed of every random choice.
        index: The folder of the index.
        out: The folder that gets `weights.safetensors`, `history.csv` and `attention.safetensors`,
            the accumulated maps in the form of a CAM store; without OAA it holds none.
        state: The folder of all stages' checkpoints.
        views: A folder for the output of the frozen blocks, for several trainings with the same
            views: see `FrozenViews`. None computes them in each step, as the pipeline does.

    Raises:
        ConfigError: `views` was given with OAA++'s drop layer, which erases from the photographs.
    """
    data = read_training_index(index)
    if views and cfg.attention.drop:
        raise ConfigError("attention.drop: erases from photographs, but only features are kept")
    keep_views = None
    if views:
        keep_views = partial(FrozenViews, cfg=cfg.backbone, seed=seed, folder=views)

    def build(seeds: Seeds, device: torch.device) -> CamTrainer:
        return CamTrainer(cfg, compute, data, seeds, device, keep_views)

    resumable_training(
        __name__,
        cfg,
        compute,
        seed,
        build,
        files=[
            *index.iterdir(),
            *cfg.backbone.files(),
            *(record.file for record in data.split("train")),
        ],
        sums=unchanged_sums(index, data.root),
        out=out,
        state=state,
        values={"views": views is not None},
    )
