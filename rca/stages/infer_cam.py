"""Stage `infer_cam`: class activation maps of every image, over scales and flips."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor

from rca.config import Compute, InferCam, TrainCam
from rca.data.cam_store import CamShard
from rca.data.images import read_image
from rca.data.index import Index, Record, read_index
from rca.data.views import normalised
from rca.files import new_folder
from rca.method.cams import normalise_cams
from rca.models.cam_network import CamNetwork
from rca.models.multiscale import multiscale
from rca.models.weights import read_config
from rca.progress import progress
from rca.training.device import prepare

log = logging.getLogger(__name__)


def run(cfg: InferCam, compute: Compute, *, index: Path, weights: Path, out: Path) -> None:
    """Write the CAMs of the classes that each image is tagged with.

    Args:
        cfg: section `infer_cam`.
        compute: device and threads.
        index: folder of the index.
        weights: `weights.safetensors` of `train_cam`.
        out: folder that gets a CAM store per split.
    """
    data = read_index(index)
    device = prepare(compute)
    network = load_network(weights, data.classes, cfg.network_stride)
    network = network.to(device, memory_format=torch.channels_last)
    with new_folder(out) as folder:
        for split in ("train", "val"):
            records = data.split(split)
            shard = CamShard(cfg.bits)
            for number, record in enumerate(
                progress(records, len(records), f"CAMs of {split},"), 1
            ):
                shard.add(record.image, *image_cams(network, data, record, cfg, device))
                if number % cfg.shard_size == 0 or number == len(records):
                    name = f"cams-{(number - 1) // cfg.shard_size:05d}.safetensors"
                    shard.write(folder / split / name)
                    shard = CamShard(cfg.bits)


def load_network(weights: Path, classes: Sequence[str], stride: int | None = None) -> CamNetwork:
    """The trained network, ready for inference at its own stride or at another."""
    cfg = read_config(weights, TrainCam, tuple(classes))
    if stride:
        backbone = cfg.backbone.model_copy(update={"stride": stride})
        cfg = cfg.model_copy(update={"backbone": backbone})
    network = CamNetwork(len(classes), cfg)
    network.load_state_dict(load_file(weights))
    return network.eval()


def image_cams(
    network: CamNetwork, data: Index, record: Record, cfg: InferCam, device: torch.device
) -> tuple[np.ndarray, np.ndarray]:
    """Classes, (N,) 0-based, and CAMs, (N, h, w) from 0 to 1, of one image's tags (Alg. 3)."""
    image = normalised(read_image(record.file)).to(device)
    maps = multiscale(
        partial(_positive_maps, network),
        image,
        short_side=cfg.size,
        scales=cfg.scales,
        flip=cfg.flip,
        output=(-(-record.height // cfg.stride), -(-record.width // cfg.stride)),
    )
    tags = data.tag_vector(record).to(device)
    cams = normalise_cams(maps[None], tags[None])[0]
    present = tags.nonzero()[:, 0]
    return present.cpu().numpy(), cams[present].cpu().numpy()


def _positive_maps(network: CamNetwork, images: Tensor) -> Tensor:
    return network(images).final.relu()
