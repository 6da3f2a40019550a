"""Stage `infer_cam`: class activation maps of every image, over scales and flips.

Training images get the maps of their tags, from the network or as training accumulated them (OAA).
Validation images stand for images that nobody has
tagged: they get the maps of the classes that the network itself finds in them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor

from rca.config import Compute, ConfigError, InferCam, TrainCam
from rca.data.cam_store import CamShard, CamStore
from rca.data.images import read_image
from rca.data.index import Index, Record, read_index
from rca.data.views import normalised
from rca.files import new_folder
from rca.method.cams import image_scores, normalise_cams
from rca.models.cam_network import CamNetwork
from rca.models.multiscale import multiscale
from rca.models.weights import read_config
from rca.progress import progress
from rca.training.device import prepare

Maps = tuple[np.ndarray, np.ndarray]  # classes (N,), 0-based, and CAMs (N, h, w) from 0 to 1


def run(
    cfg: InferCam, compute: Compute, *, index: Path, weights: Path, attention: Path, out: Path
) -> None:
    """Write the CAMs of the classes that each image is tagged with, or thought to hold.

    Args:
        cfg: section `infer_cam`.
        compute: device and threads.
        index: folder of the index.
        weights: `weights.safetensors` of `train_cam`.
        attention: `attention.safetensors` of `train_cam`, read with `training_maps: accumulated`.
        out: folder that gets a CAM store per split.

    Raises:
        ConfigError: accumulated maps are asked for, and the training did not accumulate.
        DataError: an image's accumulated maps are missing.
    """
    data = read_index(index)
    device = prepare(compute)
    network = load_network(weights, data.classes, cfg.network_stride)
    network = network.to(device, memory_format=torch.channels_last)

    def of_network(record: Record) -> Maps:
        image = normalised(read_image(record.file)).to(device)
        if record.split == "train":
            present = data.tag_vector(record).to(device)
        else:
            present = predicted_classes(network, image, cfg)
        return image_cams(network, image, present, (record.height, record.width), cfg)

    training_maps = of_network
    if cfg.training_maps == "accumulated":
        training_maps = accumulated_maps(weights, attention, data)
    with new_folder(out) as folder:
        _write_split(data.split("train"), training_maps, cfg, folder / "train")
        _write_split(data.split("val"), of_network, cfg, folder / "val")


def accumulated_maps(weights: Path, attention: Path, data: Index) -> Callable[[Record], Maps]:
    """How to get the maps that training accumulated of an image.

    Raises:
        ConfigError: the training did not accumulate.
    """
    if not read_config(weights, TrainCam, data.classes).attention.accumulate:
        raise ConfigError(
            "infer_cam.training_maps: accumulated needs train_cam.attention.accumulate: true; "
            "train again with it"
        )
    store = CamStore(attention)
    return lambda record: store.read(record.image)


def _write_split(
    records: Sequence[Record], maps: Callable[[Record], Maps], cfg: InferCam, out: Path
) -> None:
    shard = CamShard(cfg.bits)
    for number, record in enumerate(progress(records, len(records), f"CAMs of {out.name},")):
        shard.add(record.image, *maps(record))
        if (number + 1) % cfg.shard_size == 0 or number + 1 == len(records):
            shard.write(out / f"cams-{number // cfg.shard_size:05d}.safetensors")
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


def predicted_classes(network: CamNetwork, image: Tensor, cfg: InferCam) -> Tensor:
    """Which classes the network finds in an image, (3, H, W): float32 (C,) of 0 and 1."""
    scores = multiscale(
        lambda view: image_scores(network(view).final)[..., None, None],
        image,
        short_side=cfg.size,
        scales=[1.0],
        flip=cfg.flip,
        output=(1, 1),
    )[:, 0, 0]  # (C,)
    return ((scores.sigmoid() >= cfg.presence) | (scores == scores.max())).float()


def image_cams(
    network: CamNetwork, image: Tensor, present: Tensor, size: tuple[int, int], cfg: InferCam
) -> tuple[np.ndarray, np.ndarray]:
    """The CAMs of one image (Alg. 3).

    Args:
        network: the trained network.
        image: (3, H, W), normalised.
        present: (C,), the classes to keep.
        size: H and W.
        cfg: scales, flip and stride.

    Returns:
        Classes, (N,) 0-based, and CAMs, (N, h, w) from 0 to 1.
    """
    maps = multiscale(
        lambda view: network(view).final.relu(),
        image,
        short_side=cfg.size,
        scales=cfg.scales,
        flip=cfg.flip,
        output=(-(-size[0] // cfg.stride), -(-size[1] // cfg.stride)),
    )
    cams = normalise_cams(maps[None], present[None])[0]
    kept = present.nonzero()[:, 0]
    return kept.cpu().numpy(), cams[kept].cpu().numpy()
