"""Stage `train_seg`: train the segmentation network on label maps, ignoring 255."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import torch

from rca.config import Compute, TrainSeg
from rca.data.checksums import unchanged_sums
from rca.data.datasets import Seeds
from rca.data.index import Index, read_index, read_training_index
from rca.runtime.state import STATE
from rca.training.resumable import resumable_training
from rca.training.segmentation_training import SegmentationTrainer, label_file, label_reader


def run(
    cfg: TrainSeg,
    compute: Compute,
    seed: int,
    *,
    supervision: str,
    index: Path,
    labels: Path,
    out: Path,
    state: Path = STATE,
) -> None:
    """Train on the training images with one label map each; a killed training resumes.

    All supervisions share every random choice, so that the labels are all that differs.

    Args:
        cfg: The section `train_seg`.
        compute: The device and the number of threads.
        seed: The seed of every random choice.
        supervision: `truth` reads the true masks, for an upper bound. Any other reads the label
            maps in `labels`, with masks and validation images out of reach.
        index: The folder of the index.
        labels: The folder of refined label maps.
        out: The folder that gets `weights.safetensors` and `history.csv`.
        state: The folder of all stages' checkpoints.

    Raises:
        DataError: The truth is asked for, and a training image has no mask.
    """
    data = read_index(index) if supervision == "truth" else read_training_index(index)
    read_labels = label_reader(data, supervision, labels)

    def build(seeds: Seeds, device: torch.device) -> SegmentationTrainer:
        return SegmentationTrainer(cfg, compute, data, read_labels, seeds, device)

    resumable_training(
        __name__,
        cfg,
        compute,
        seed,
        build,
        files=_files(cfg, data, supervision, index, labels),
        sums=unchanged_sums(index, data.root),
        out=out,
        state=state,
    )


def _files(
    cfg: TrainSeg, data: Index, supervision: str, index: Path, labels: Path
) -> Iterator[Path]:
    """Name what is read for training."""
    yield from index.iterdir()
    yield from cfg.backbone.files()
    for record in data.split("train"):
        yield record.file
        marks = record.mask if supervision == "truth" else label_file(labels, record)
        if marks:
            yield marks
