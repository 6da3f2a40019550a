"""Stage `infer_cam`: class activation maps of every image, over scales and flips.

Training images get the maps of their tags, from the network or as accumulated in training (OAA).
Validation images stand for untagged images: they get the maps of the classes that the network
itself finds in them.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from torch import Tensor

from rca.config import Compute, ConfigError, InferCam, TrainCam
from rca.data.cam_store import CamShard, CamStore, is_shard, store_files
from rca.data.checksums import unchanged_sums
from rca.data.images import read_image
from rca.data.index import Index, Record, read_index
from rca.data.views import normalised
from rca.method.cams import normalise_cams
from rca.models.cam_network import CamNetwork
from rca.models.device import prepare
from rca.models.device_kinds import kinds
from rca.models.found_classes import predicted_classes
from rca.models.inference import for_inference
from rca.models.multiscale import multiscale, once_for_each_size
from rca.models.weights import load_network, read_config
from rca.runtime.progress import progress
from rca.runtime.state import STATE, WHOLE, Shard, merge, resumable_folder, state_folder

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
    """Write the CAMs of each image's tags or, for validation images, of its predicted classes.

    A killed run resumes after its last complete file. If shards have left all files, they are only
    merged, which needs no GPU.

    Args:
        cfg: The section `infer_cam`.
        compute: The device and the number of threads.
        index: The folder of the index.
        weights: The file `weights.safetensors` of `train_cam`.
        attention: The file `attention.safetensors` of `train_cam`, read with
            `training_maps: accumulated`.
        out: The folder that gets a CAM store per split.
        state: The folder of all stages' partial work.
        shard: The share of the files to write. If it is not the whole, its results stay in `state`.

    Raises:
        ConfigError: Accumulated maps are asked for, but the training did not accumulate any.
        DataError: An image's accumulated maps are missing.
    """
    data = read_index(index)
    kind, *others = kinds(compute)
    values = {"section": cfg.model_dump(), "device": kind, "threads": compute.threads}
    files = [weights, attention, *index.iterdir(), *(record.file for record in data.records)]
    sums = unchanged_sums(index, data.root)
    done = state_folder(state, __name__, out, values=values, files=files, sums=sums)
    stores = store_files(data, cfg.shard_size)
    is_complete = partial(_is_complete, stores=stores)
    if shard == WHOLE and merge(out, done, others, list(stores), is_complete):
        return
    device = prepare(compute)
    network = load_network(weights, CamNetwork, TrainCam, data.classes, cfg.network_stride)
    network = for_inference(network, device)

    def of_network(record: Record) -> Maps:
        image = normalised(read_image(record.file)).to(device)
        final_maps = once_for_each_size(network.final_maps)
        if record.split == "train":
            present = data.tag_vector(record).to(device)
        else:
            present = predicted_classes(final_maps, image, cfg)
        return image_cams(final_maps, image, present, (record.height, record.width), cfg)

    training_maps: Callable[[Record], Maps] = of_network
    if cfg.training_maps == "accumulated":
        training_maps = accumulated_maps(weights, attention, data)
    with resumable_folder(out, done, list(stores), shard) as folder:
        for name, records in shard.pick(list(stores.items())):
            if is_shard(folder / name, [record.image for record in records]):
                log.info("%s was already done", name)
                continue
            file = CamShard(cfg.bits)
            for record in progress(records, len(records), f"{name}, image"):
                maps = training_maps if record.split == "train" else of_network
                file.add(record.image, *maps(record))
            file.write(folder / name)


def _is_complete(folder: Path, stores: Mapping[str, Sequence[Record]]) -> bool:
    """Check whether a folder holds all files of the stores, undamaged."""
    return all(
        is_shard(folder / name, [record.image for record in records])
        for name, records in stores.items()
    )


def accumulated_maps(weights: Path, attention: Path, data: Index) -> Callable[[Record], Maps]:
    """Return a function that reads the maps of an image that the training accumulated.

    Raises:
        ConfigError: The training did not accumulate maps.
    """
    if not read_config(weights, TrainCam, data.classes).attention.accumulate:
        raise ConfigError(
            "infer_cam.training_maps: accumulated needs train_cam.attention.accumulate: true; "
            "train again with it"
        )
    store = CamStore(attention)
    return lambda record: store.read(record.image)


def image_cams(
    final_maps: Callable[[Tensor], Tensor],
    image: Tensor,
    present: Tensor,
    size: tuple[int, int],
    cfg: InferCam,
) -> tuple[np.ndarray, np.ndarray]:
    """Compute the CAMs of one image (Alg. 3).

    Args:
        final_maps: A function from normalised images to their final maps, (B, C, h, w).
        image: The normalised image, (3, H, W).
        present: The classes to keep, (C,).
        size: H and W.
        cfg: The scales, the flip and the stride.

    Returns:
        The 0-based classes, (N,), and their CAMs, (N, h, w), from 0 to 1.
    """
    maps = multiscale(
        lambda view: final_maps(view).relu(),
        image,
        short_side=cfg.size,
        scales=cfg.scales,
        flip=cfg.flip,
        output=(-(-size[0] // cfg.stride), -(-size[1] // cfg.stride)),
    )
    cams = normalise_cams(maps[None], present[None])[0]
    kept = present.nonzero()[:, 0]
    return kept.cpu().numpy(), cams[kept].cpu().numpy()
