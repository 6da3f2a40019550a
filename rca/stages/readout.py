"""Stage `readout`: class maps from prototypes of the classes and the background.

The prototypes are fitted to the training images, from their tags and CAMs; no mask is read. The
maps are posteriors of the classes for which the CAM store has maps of an image: its tags in
training, the predicted classes in validation. The background's posterior is one minus their sum.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from rca.config import Compute, Readout
from rca.data.cam_store import CamShard, is_shard, store_files
from rca.data.checksums import unchanged_sums
from rca.data.index import Record, in_pieces, read_maskless_index
from rca.data.saliency import require_saliency
from rca.method.readout import fit_readout, label_posterior, nearest_pixels
from rca.models.device import prepare
from rca.readout.fitted import PROTOTYPES, Fitted, read_fitted, write_fitted
from rca.readout.pixels import (
    Gathered,
    Reader,
    gather_pixels,
    make_reader,
    sample_pixels,
    settings_of,
)
from rca.readout.sample import read_sample
from rca.runtime.files import new_folder, write_json
from rca.runtime.progress import progress
from rca.runtime.state import STATE, WHOLE, Shard, resumable_folder, state_folder
from rca.training.seeds import generator

log = logging.getLogger(__name__)

BITS = 16  # of a stored posterior: the CRF takes its logarithm
NEAREST = "nearest.json"
NEAREST_IMAGES = 6  # per prototype, the images with the pixels most similar to it


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

    A killed run resumes after its last complete file.

    Args:
        cfg: The section `readout`; `method: cams` copies the CAMs.
        compute: The device and the number of threads.
        seed: The seed of every random choice.
        index: The folder of the index.
        weights: The file `weights.safetensors` of stage `train_cam`.
        cams: The folder of stage `infer_cam`.
        out: The folder that gets a store of maps per split and, with `method: prototypes`, the
            prototypes (`prototypes.safetensors`) and the training images' pixels nearest to them
            (`nearest.json`).
        state: The folder of all stages' partial work.
        shard: The share of the training images to sample. If it is not the whole, their features
            stay in `state`, and nothing else is done.

    Raises:
        ConfigError: The weights cannot be used, or the backbone has no such block.
        DataError: An image, its CAMs or its saliency map is missing.
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
        sums=unchanged_sums(index, data.root),
    )
    pieces = in_pieces(data.split("train"), cfg.shard_size)
    stores = store_files(data, cfg.shard_size)
    with resumable_folder(out, done, [*stores, PROTOTYPES, NEAREST], shard) as folder:
        samples = sample_pixels(reader, pieces, seed, folder, shard)
        if shard != WHOLE:
            return
        if not (folder / PROTOTYPES).is_file():
            fit_and_write(reader, pieces, samples, seed, folder)
        fitted = read_fitted(folder, f"remove {folder}, then run `rca readout` again")
        sampled = dict(zip(stores, samples, strict=False))  # the training images' files come first
        for name, records in stores.items():
            if is_shard(folder / name, [record.image for record in records]):
                log.info("%s was already done", name)
                continue
            _read_out(reader, records, sampled.get(name), fitted).write(folder / name)


def _pass_through(cams: Path, out: Path) -> None:
    """Copy the CAM stores as the class maps."""
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
    """Fit the prototypes to the samples; write them, the features' means and the nearest pixels."""
    gathered = gather_pixels(reader, pieces, samples)
    draws = generator(seed, "readout", "k-means")
    start = reader.start(gathered.means)
    prototypes, valid = fit_readout(gathered.pixels, settings_of(reader.cfg), draws, start)
    write_json(folder / NEAREST, _nearest(reader, pieces, gathered, prototypes, valid))
    write_fitted(folder, Fitted(prototypes, valid, gathered.means))
    log.info("%d prototypes of %d labels", int(valid.sum()), int(valid.any(dim=1).sum()))


def _nearest(
    reader: Reader,
    pieces: Sequence[Sequence[Record]],
    gathered: Gathered,
    prototypes: Tensor,
    valid: Tensor,
) -> list[dict[str, Any]]:
    """List each prototype's label and the training pixels most similar to it, one per image."""
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
    fitted: Fitted,
) -> CamShard:
    """Compute the posteriors of several images, reusing features that were sampled completely."""
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
            reader.directions(features, fitted.means),
            fitted.prototypes,
            fitted.valid,
            present,
            reader.cfg.temperature,
            reader.cfg.background_weight,
            reader.foreground(record, tuple(features.shape[:2])),
        )
        maps = posterior[..., 1:][..., present].movedim(-1, 0)
        file.add(record.image, present.nonzero()[:, 0].numpy(), maps.numpy())
    return file
