"""Stage `relabel`: what a trained network makes of the training images, for a network after it.

A round of self-training: the network of an earlier training labels the training images, each
restricted to the image's tags, a dense CRF refines them, and `train_seg` trains anew on the result.
No mask is read. Goes beyond the paper.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import torch

from rca.config import Compute, Crf, InferSeg, TrainSeg
from rca.data.images import read_image, write_label_map
from rca.data.index import Index, Record, left_to_label, read_training_index
from rca.inference.scores import class_probabilities
from rca.labels.crf import dense_crf
from rca.labels.pool import ordered_map
from rca.models.deeplab import DeepLab
from rca.models.weights import load_network
from rca.progress import progress
from rca.state import STATE, WHOLE, Shard, resumable_folder, state_folder
from rca.training.device import placed, prepare

Evidence = tuple[np.ndarray, np.ndarray, np.ndarray]  # image, labels of its tags, probabilities


def run(
    cfg: InferSeg,
    crf: Crf,
    compute: Compute,
    *,
    index: Path,
    weights: Path,
    out: Path,
    state: Path = STATE,
    shard: Shard = WHOLE,
) -> None:
    """Write one label map per training image; a killed run goes on.

    Args:
        cfg: section `infer_seg`, for sizes, scales and flips; its `crf` is not read.
        crf: section `crf`; `method: none` leaves the network's labels as they are.
        compute: device and threads.
        index: folder of the index.
        weights: `weights.safetensors` of the training that teaches.
        out: folder that gets `<image>.png`.
        state: where unfinished work is kept.
        shard: do these of the images alone, and leave them in `state`.

    Raises:
        DataError: an image is missing or cannot be read.
        ConfigError: the weights are missing or of other classes.
    """
    data = read_training_index(index)
    records = data.split("train")
    device = prepare(compute)
    network = load_network(weights, DeepLab, TrainSeg, data.classes)
    network = placed(network, device)
    values = {
        "section": cfg.model_dump(exclude={"crf"}),
        "crf": crf.model_dump(exclude={"processes"}),
        "device": device.type,
        "threads": compute.threads,
    }
    files = [weights, *index.iterdir(), *(record.file for record in records)]
    done = state_folder(state, "relabel", out, values=values, files=files)
    names = [f"{record.image}.png" for record in records]
    with resumable_folder(out, done, names, shard) as folder:
        left = left_to_label(folder, shard.pick(records))
        evidence = _evidence(data, left, network, cfg, device)
        labels = ordered_map(partial(_label, cfg=crf), evidence, crf.processes)
        shown = progress(labels, len(left), "masks of train,")
        for record, marks in zip(left, shown, strict=True):
            write_label_map(folder / f"{record.image}.png", marks, data.palette)


def _evidence(
    data: Index, records: list[Record], network: DeepLab, cfg: InferSeg, device: torch.device
) -> Iterator[tuple[str, Evidence]]:
    """Name of each image, and what its label map is made from."""
    for record in records:
        labels = [0, *(data.classes.index(tag) + 1 for tag in record.tags)]
        image = read_image(record.file)
        probabilities = class_probabilities(network, image, cfg, device)
        yield (
            record.image,
            (np.asarray(image), np.array(labels, np.uint8), probabilities[labels]),
        )


def _label(evidence: Evidence, cfg: Crf) -> np.ndarray:
    """The likeliest of the image's labels for each pixel, uint8 (H, W).

    Probabilities are those of the background and the tags alone; the CRF normalises them.
    """
    image, labels, probabilities = evidence
    if cfg.method == "dense":
        probabilities = dense_crf(image, probabilities, cfg)
    return labels[probabilities.argmax(axis=0)]
