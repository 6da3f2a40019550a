"""Stage `infer_seg`: masks of the validation images, over scales and flips; no tag is read."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from rca.config import Compute, InferSeg, TrainSeg
from rca.data.images import read_image, write_label_map
from rca.data.index import read_index
from rca.data.views import normalised
from rca.files import new_folder
from rca.models.deeplab import DeepLab
from rca.models.multiscale import multiscale
from rca.models.weights import read_config
from rca.progress import progress
from rca.training.device import prepare


def run(cfg: InferSeg, compute: Compute, *, index: Path, weights: Path, out: Path) -> None:
    """Write one label map per validation image.

    Args:
        cfg: section `infer_seg`.
        compute: device and threads.
        index: folder of the index.
        weights: `weights.safetensors` of `train_seg`.
        out: folder that gets `<image>.png`.
    """
    data = read_index(index)
    device = prepare(compute)
    network = load_network(weights, data.classes).to(device, memory_format=torch.channels_last)
    records = data.split("val")
    with new_folder(out) as folder:
        for record in progress(records, len(records), "masks of val,"):
            probabilities = multiscale(
                partial(_probabilities, network),
                normalised(read_image(record.file)).to(device),
                short_side=cfg.size,
                scales=cfg.scales,
                flip=cfg.flip,
                output=(record.height, record.width),
            )  # (C + 1, H, W)
            labels = probabilities.argmax(0).to(torch.uint8).cpu().numpy()
            write_label_map(folder / f"{record.image}.png", labels, data.palette)


def load_network(weights: Path, classes: Sequence[str]) -> DeepLab:
    """The trained network, ready for inference."""
    network = DeepLab(len(classes), read_config(weights, TrainSeg, tuple(classes)))
    network.load_state_dict(load_file(weights))
    return network.eval()


def _probabilities(network: DeepLab, images: Tensor) -> Tensor:
    return network(images).softmax(dim=1)
