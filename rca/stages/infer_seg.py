"""Stage `infer_seg`: masks of the validation images, over scales and flips; no tag is read.

On request the network's probabilities go through a dense CRF, as DeepLab's do.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor

from rca.config import Compute, Crf, InferSeg, TrainSeg
from rca.data.images import read_image, write_label_map
from rca.data.index import Record, read_index
from rca.data.views import normalised
from rca.files import new_folder
from rca.labels.crf import crf_labels
from rca.labels.pool import ordered_map
from rca.models.deeplab import DeepLab
from rca.models.multiscale import multiscale
from rca.models.weights import read_config
from rca.progress import progress
from rca.training.device import prepare


def run(
    cfg: InferSeg, crf: Crf, compute: Compute, *, index: Path, weights: Path, out: Path
) -> None:
    """Write one label map per validation image.

    Args:
        cfg: section `infer_seg`.
        crf: section `crf`, for `crf: true`.
        compute: device and threads.
        index: folder of the index.
        weights: `weights.safetensors` of `train_seg`.
        out: folder that gets `<image>.png`.
    """
    data = read_index(index)
    device = prepare(compute)
    network = load_network(weights, data.classes).to(device, memory_format=torch.channels_last)
    records = data.split("val")
    scored = ((record.image, _score(network, record, cfg, device)) for record in records)
    if cfg.crf:
        labels = ordered_map(partial(crf_labels, cfg=crf), scored, crf.processes)
    else:
        labels = (probabilities.argmax(0).astype(np.uint8) for _, (_, probabilities) in scored)
    with new_folder(out) as folder:
        shown = progress(labels, len(records), "masks of val,")
        for record, marks in zip(records, shown, strict=True):
            write_label_map(folder / f"{record.image}.png", marks, data.palette)


def load_network(weights: Path, classes: Sequence[str]) -> DeepLab:
    """The trained network, ready for inference."""
    network = DeepLab(len(classes), read_config(weights, TrainSeg, tuple(classes)))
    network.load_state_dict(load_file(weights))
    return network.eval()


def _score(
    network: DeepLab, record: Record, cfg: InferSeg, device: torch.device
) -> tuple[np.ndarray, np.ndarray]:
    """The image, uint8 (H, W, 3), and its probabilities, (C + 1, H, W)."""
    image = read_image(record.file)
    probabilities = multiscale(
        partial(_probabilities, network),
        normalised(image).to(device),
        short_side=cfg.size,
        scales=cfg.scales,
        flip=cfg.flip,
        output=(record.height, record.width),
    )
    return np.asarray(image), probabilities.cpu().numpy()


def _probabilities(network: DeepLab, images: Tensor) -> Tensor:
    return network(images).softmax(dim=1)
