"""Stage `train_seg`: train the segmentation network on label maps, ignoring 255."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rca.config import IGNORE, Compute, TrainSeg
from rca.data.datasets import Example, TrainingBatches, TrainingImages
from rca.data.images import DataError, read_mask
from rca.data.index import Index, Record, read_index, read_training_index
from rca.models.deeplab import DeepLab
from rca.models.device import placed, prepare
from rca.models.weights import save_weights
from rca.runtime.files import new_folder
from rca.runtime.state import STATE, state_folder
from rca.training.checkpoint import Checkpoints, RandomState
from rca.training.distributed import is_first, processes, rank, session, total
from rca.training.form import autocast, loss_scaler, training_form, traits
from rca.training.loop import train, write_history
from rca.training.optimiser import build_optimiser
from rca.training.seeds import derive_seed, generator, global_seed


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
    """Train on the training images with one label map each; a killed training goes on.

    Both supervisions share every random choice, so that the labels are all that differs.

    Args:
        cfg: section `train_seg`.
        compute: device and threads.
        seed: of every random choice.
        supervision: `pseudo` reads the label maps in `labels`, masks and validation images being
            out of reach; `truth` reads the true masks, for an upper bound.
        index: folder of the index.
        labels: folder of refined label maps.
        out: folder that gets `weights.safetensors` and `history.csv`.
        state: where checkpoints are kept.
    """
    data = read_index(index) if supervision == "truth" else read_training_index(index)
    device = prepare(compute)
    with session(device), global_seed(derive_seed(seed, "train_seg", "weights"), device) as dropout:
        network = DeepLab(len(data.classes), cfg)
        network = placed(network, device).train()
        if rank():
            torch.manual_seed(derive_seed(seed, "train_seg", "dropout", rank()))
        folder = state_folder(
            state,
            __name__,
            out,
            values={
                "section": cfg.model_dump(mode="json"),
                "seed": seed,
                **traits(compute, device),
            },
            files=_files(cfg, data, supervision, index, labels),
        )
        checkpoints = Checkpoints(
            folder, compute.checkpoint_steps, {"network": network, "dropout": RandomState(dropout)}
        )
        with checkpoints.listening():
            history = train(
                lambda epoch: None,
                partial(_step, training_form(network, compute, device), cfg, compute, device),
                _batches(cfg, compute, seed, data, label_reader(data, supervision, labels)),
                build_optimiser(network, cfg.optimiser),
                cfg.optimiser,
                cfg.epochs,
                checkpoints,
                loss_scaler(compute, device),
            )
            if is_first():
                with new_folder(out) as made:
                    save_weights(made / "weights.safetensors", network, data.classes, cfg)
                    write_history(made / "history.csv", history)
        checkpoints.remove()


def _files(
    cfg: TrainSeg, data: Index, supervision: str, index: Path, labels: Path
) -> Iterator[Path]:
    """What is read for training."""
    yield from index.iterdir()
    yield from cfg.backbone.files()
    for record in data.split("train"):
        yield record.file
        marks = record.mask if supervision == "truth" else label_file(labels, record)
        if marks:
            yield marks


def _batches(
    cfg: TrainSeg,
    compute: Compute,
    seed: int,
    data: Index,
    read_labels: Callable[[Record], np.ndarray],
) -> TrainingBatches:
    records = data.split("train")
    tags = torch.stack([data.tag_vector(record) for record in records])
    seeds = partial(generator, seed, "train_seg")
    images = TrainingImages(records, tags, cfg.view, seeds, read_labels)
    return TrainingBatches(images, cfg.batch_size, compute.workers, rank(), processes())


def label_reader(data: Index, supervision: str, labels: Path) -> Callable[[Record], np.ndarray]:
    """How to get the label map of an image: from `labels`, or from the truth.

    Raises:
        DataError: the truth is asked for, and a training image has no mask.
    """
    if supervision == "truth":
        without = [record.image for record in data.split("train") if record.mask is None]
        if without:
            raise DataError(
                f"{len(without)} training images have no mask to learn from, such as {without[0]}; "
                "leave `truth` out of train_seg.supervisions"
            )
        return data.truth

    def read(record: Record) -> np.ndarray:
        path = label_file(labels, record)
        marks = read_mask(path)
        if marks.shape != (record.height, record.width):
            raise DataError(
                f"{path}: is {marks.shape[1]} × {marks.shape[0]}, the image is "
                f"{record.width} × {record.height}; make the labels again"
            )
        return marks

    return read


def label_file(labels: Path, record: Record) -> Path:
    """Where the label map of an image is."""
    return labels / f"{record.image}.png"


def segmentation_loss(
    logits: Tensor,
    labels: Tensor,
    balanced: bool = False,
    total: Callable[[Tensor], Tensor] = lambda count: count,
) -> Tensor:
    """Mean cross-entropy over labelled pixels; zero where all are ignored.

    Of several processes each gets its part of the mean over the pixels of all; the parts' sum is
    that mean.

    Args:
        logits: (B, C + 1, H, W).
        labels: int64 (B, H, W), 255 ignored.
        balanced: take the mean over the background's pixels and the mean over the classes' pixels,
            and halve their sum (Kolesnikov & Lampert's and later seeding losses do alike).
        total: a count of pixels → its sum over all processes.
    """
    pixels = F.cross_entropy(logits, labels, ignore_index=IGNORE, reduction="none")  # (B, H, W)
    known = labels != IGNORE
    if not balanced:
        return pixels.sum() / total(known.sum()).clamp_min(1)
    background = labels == 0
    first, second = (
        pixels[part].sum() / total(part.sum()).clamp_min(1)
        for part in (background, known & ~background)
    )
    return (first + second) / 2


def _step(
    network: nn.Module,
    cfg: TrainSeg,
    compute: Compute,
    device: torch.device,
    batch: Example,
    epoch: int,
    share: float,
) -> dict[str, Tensor]:
    images = batch.pixels.to(device, memory_format=torch.channels_last)
    with autocast(compute, device):
        logits = network(images)
    loss = segmentation_loss(logits.float(), batch.labels.to(device), cfg.balanced, total)
    return {"loss": loss}
