"""Stage `infer_cam`: class activation maps of every image, over scales and flips.

Training images get the maps of their tags, from the network or as training accumulated them (OAA).
Validation images stand for images that nobody has tagged: they get the maps of the classes that the
network itself finds in them.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np
from torch import Tensor

from rca.config import Compute, ConfigError, InferCam, TrainCam
from rca.data.cam_store import CamShard, CamStore, is_shard, store_files
from rca.data.images import read_image
from rca.data.index import Index, Record, read_index
from rca.data.views import normalised
from rca.method.cams import image_scores, normalise_cams
from rca.models.cam_network import CamNetwork
from rca.models.device import placed, prepare
from rca.models.multiscale import multiscale
from rca.models.weights import load_network, read_config
from rca.runtime.progress import progress
from rca.runtime.state import STATE, WHOLE, Shard, resumable_folder, state_folder

log = logging.getLogger(__name__)

Maps = tuple[np.ndarray, np.ndarray]  # classes (N,), 0-based, and CAMs (N, h, w) from 0 to 1


def run(
    cfg: InferCam,
    compute: Compute,
    *,
    index: Path,
    weights: Path,
    attention: Path,
    out: Path,
    state: Path = STATE,
    shard: Shard = WHOLE,
) -> None:
    """Write the CAMs of the classes that each image is tagged with, or thought to hold.

    A killed run goes on after its last whole file.

    Args:
        cfg: section `infer_cam`.
        compute: device and threads.
        index: folder of the index.
        weights: `weights.safetensors` of `train_cam`.
        attention: `attention.safetensors` of `train_cam`, read with `training_maps: accumulated`.
        out: folder that gets a CAM store per split.
        state: where unfinished work is kept.
        shard: do these of the files alone, and leave them in `state`.

    Raises:
        ConfigError: accumulated maps are asked for, and the training did not accumulate.
        DataError: an image's accumulated maps are missing.
    """
    data = read_index(index)
    device = prepare(compute)
    network = load_network(weights, CamNetwork, TrainCam, data.classes, cfg.network_stride)
    network = placed(network, device)

    def of_network(record: Record) -> Maps:
        image = normalised(read_image(record.file)).to(device)
        if record.split == "train":
            present = data.tag_vector(record).to(device)
        else:
            present = predicted_classes(network, image, cfg)
        return image_cams(network, image, present, (record.height, record.width), cfg)

    training_maps: Callable[[Record], Maps] = of_network
    if cfg.training_maps == "accumulated":
        training_maps = accumulated_maps(weights, attention, data)
    machine = {"device": device.type, "threads": compute.threads}
    values = {"section": cfg.model_dump(), **machine}
    files = [weights, attention, *index.iterdir(), *(record.file for record in data.records)]
    done = state_folder(state, __name__, out, values=values, files=files)
    files_of_store = store_files(data, cfg.shard_size)
    with resumable_folder(out, done, list(files_of_store), shard) as folder:
        for name, records in shard.pick(list(files_of_store.items())):
            if is_shard(folder / name, [record.image for record in records]):
                log.info("%s was done before", name)
                continue
            file = CamShard(cfg.bits)
            for record in progress(records, len(records), f"{name}, image"):
                maps = training_maps if record.split == "train" else of_network
                file.add(record.image, *maps(record))
            file.write(folder / name)


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
