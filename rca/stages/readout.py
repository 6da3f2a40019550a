"""Stage `readout`: class maps from prototypes of the classes and the background.

The prototypes are fitted to the training images, from their tags and CAMs; no mask is read. The
maps are posteriors of the classes that the CAM store has of an image: its tags in training, what
the network finds in validation. The background's posterior is what the classes leave.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Mapping, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.torch import load_file, save_file
from torch import Tensor

from rca.config import Compute, Readout
from rca.data.cam_store import CamShard, is_shard, store_files
from rca.data.images import whole
from rca.data.index import Record, in_pieces, read_maskless_index
from rca.data.saliency import require_saliency
from rca.method.readout import fit_readout, label_posterior, nearest_pixels
from rca.models.device import prepare
from rca.readout.pixels import (
    Gathered,
    Reader,
    gather_pixels,
    make_reader,
    sample_pixels,
    settings_of,
)
from rca.readout.sample import read_sample
from rca.runtime.files import new_file, new_folder, write_json
from rca.runtime.progress import progress
from rca.runtime.state import STATE, WHOLE, Shard, resumable_folder, state_folder
from rca.training.seeds import generator

log = logging.getLogger(__name__)

BITS = 16  # of a stored posterior: the CRF takes its logarithm
PROTOTYPES, NEAREST = "prototypes.safetensors", "nearest.json"
NEAREST_IMAGES = 6  # for each prototype, the images that hold the pixels most like it


def run(
    cfg: Readout,
    compute: Compute,
    seed: int,
    *,
    index: Path,
    weights: Path,
    cams: Path,
    out: Path,
    state: Path = STATE,
    shard: Shard = WHOLE,
) -> None:
    """Write the class maps of every image, the prototypes, and the pixels nearest to each.

    A killed run resumes after its last whole file.

    Args:
        cfg: section `readout`; `method: cams` passes the CAMs through.
        compute: device and threads.
        seed: source of every random choice.
        index: folder of stage `index`.
        weights: `weights.safetensors` of stage `train_cam`.
        cams: folder of stage `infer_cam`.
        out: folder that gets a store of maps for each split and, with prototypes, these
            (`prototypes.safetensors`) and the training images' nearest pixels (`nearest.json`).
        state: where unfinished work is kept.
        shard: read the features of this share of the training images and leave them in `state`.

    Raises:
        ConfigError: the backbone has no such block.
        DataError: an image or its CAMs are missing, or a saliency map is.
    """
    if cfg.method == "cams":
        if shard == WHOLE:
            _pass_through(cams, out)
        return
    data = read_maskless_index(index)
    if cfg.saliency:
        require_saliency(data.split("train"), "readout.saliency: false")
    reader = make_reader(cfg, data, weights, cams, prepare(compute))
    done = state_folder(
        state,
        __name__,
        out,
        values={
            "section": cfg.model_dump(),
            "seed": seed,
            "device": reader.device.type,
            "threads": compute.threads,
        },
        files=[
            weights,
            *index.iterdir(),
            *cams.glob("*/*.safetensors"),
            *(record.file for record in data.records),
            *(record.saliency for record in data.records if cfg.saliency and record.saliency),
        ],
    )
    pieces = in_pieces(data.split("train"), cfg.shard_size)
    stores = store_files(data, cfg.shard_size)
    with resumable_folder(out, done, [*stores, PROTOTYPES, NEAREST], shard) as folder:
        samples = sample_pixels(reader, pieces, seed, folder, shard)
        if shard != WHOLE:
            return
        if not (folder / PROTOTYPES).is_file():
            fit_and_write(reader, pieces, samples, seed, folder)
        with whole(folder / PROTOTYPES, f"remove {folder}, then run `rca readout` again"):
            fitted = load_file(folder / PROTOTYPES)
        sampled = dict(zip(stores, samples, strict=False))  # the training images' files come first
        for name, records in stores.items():
            if is_shard(folder / name, [record.image for record in records]):
                log.info("%s was done before", name)
                continue
            _read_out(reader, records, sampled.get(name), fitted).write(folder / name)


def _pass_through(cams: Path, out: Path) -> None:
    """Copy the CAM stores, as the maps that are read from them."""
    with new_folder(out) as folder:
        for store in cams.iterdir():
            shutil.copytree(store, folder / store.name)


def fit_and_write(
    reader: Reader,
    pieces: Sequence[Sequence[Record]],
    samples: Sequence[Path],
    seed: int,
    folder: Path,
) -> None:
    """Fit the prototypes to the samples; write them with the features' means, and the nearest."""
    gathered = gather_pixels(reader, pieces, samples)
    draws = generator(seed, "readout", "k-means")
    start = reader.start(gathered.means)
    prototypes, valid = fit_readout(gathered.pixels, settings_of(reader.cfg), draws, start)
    write_json(folder / NEAREST, _nearest(reader, pieces, gathered, prototypes, valid))
    tensors = {"prototypes": prototypes, "valid": valid, "means": gathered.means}
    with new_file(folder / PROTOTYPES) as partial:
        save_file(tensors, partial)
    log.info("%d prototypes of %d labels", int(valid.sum()), int(valid.any(dim=1).sum()))


def _nearest(
    reader: Reader,
    pieces: Sequence[Sequence[Record]],
    gathered: Gathered,
    prototypes: Tensor,
    valid: Tensor,
) -> list[dict[str, Any]]:
    """For each prototype its label and the training pixels most like it, each of another image."""
    records = [record for piece in pieces for record in piece]
    names = ["background", *reader.data.classes]
    nearest = nearest_pixels(gathered.pixels, prototypes, valid, NEAREST_IMAGES)
    listed = []
    for (label, number), found in nearest.items():
        spots = []
        for pixel, similarity in found:
            x, y = gathered.spot(pixel)
            image = records[int(gathered.pixels.image[pixel])].image
            spots.append({"image": image, "x": round(x, 4), "y": round(y, 4), "cosine": similarity})
        listed.append({"label": names[label], "prototype": number, "pixels": spots})
    return listed


def _read_out(
    reader: Reader,
    records: Sequence[Record],
    sampled: Path | None,
    fitted: Mapping[str, Tensor],
) -> CamShard:
    """The posteriors of some images; features that were sampled whole are not computed again."""
    file = CamShard(BITS)
    samples = read_sample(sampled, [record.image for record in records]) if sampled else []
    pairs = zip_longest(records, samples)
    for record, sample in progress(pairs, len(records), f"posteriors of {records[0].split}, image"):
        present = reader.classes(record)
        if sample and not present.any():
            file.add(record.image, np.empty(0, int), np.empty((0, *sample.grid), np.float32))
            continue
        if sample and sample.whole:
            features = sample.features.unflatten(0, sample.grid)
        else:
            features = reader.features(record).cpu()
        posterior = label_posterior(
            reader.directions(features, fitted["means"]),
            fitted["prototypes"],
            fitted["valid"],
            present,
            reader.cfg.temperature,
            reader.cfg.background_weight,
            reader.foreground(record, tuple(features.shape[:2])),
        )
        maps = posterior[..., 1:][..., present].movedim(-1, 0)
        file.add(record.image, present.nonzero()[:, 0].numpy(), maps.numpy())
    return file
