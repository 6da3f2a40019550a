"""Label maps by a trained segmentation network, as stages `infer_seg` and `relabel` write them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch

from rca.config import Compute, Crf, InferSeg, TrainSeg
from rca.data.checksums import unchanged_sums
from rca.data.images import read_image, write_label_map
from rca.data.index import Index, Record, left_to_label
from rca.inference.decision import Scored, mask_of
from rca.inference.probabilities import class_probabilities
from rca.models.deeplab import DeepLab
from rca.models.device import prepare
from rca.models.device_kinds import kinds
from rca.models.inference import for_inference
from rca.models.weights import load_network
from rca.runtime.pool import ordered_map
from rca.runtime.progress import progress
from rca.runtime.state import WHOLE, Shard, merge, resumable_folder, state_folder

Allowed = Callable[[Record], Sequence[int]]


def write_network_labels(
    module: str,
    cfg: InferSeg,
    crf: Crf | None,
    compute: Compute,
    *,
    data: Index,
    split: str,
    allowed: Allowed,
    index: Path,
    weights: Path,
    out: Path,
    state: Path,
    shard: Shard,
) -> None:
    """Write one label map per image of a split; a killed run resumes.

    If shards have left all label maps, they are only merged, which needs no GPU.

    Args:
        module: The module of the stage, whose state this is.
        cfg: The section `infer_seg`; its `crf` is not read.
        crf: The CRF that refines the probabilities; None leaves them as they are.
        compute: The device and the number of threads.
        data: The index, as the stage may see it.
        split: The split whose images get label maps.
        allowed: A function from a record to the labels that its image may get, including the
            background's.
        index: The folder of the index.
        weights: The file `weights.safetensors` of `train_seg`.
        out: The folder that gets `<image>.png`.
        state: The folder where unfinished work is kept.
        shard: The share of the images to label; unless it is the whole, its label maps stay in
            `state`.

    Raises:
        DataError: An image is missing or cannot be read.
        ConfigError: The weights are missing or have other classes.
    """
    records = data.split(split)
    kind, *others = kinds(compute)
    values = {
        "section": cfg.model_dump(exclude={"crf"}),
        "crf": crf.model_dump(exclude={"processes"}) if crf else None,
        "device": kind,
        "threads": compute.threads,
    }
    files = [weights, *index.iterdir(), *(record.file for record in records)]
    sums = unchanged_sums(index, data.root)
    done = state_folder(state, module, out, values=values, files=files, sums=sums)
    names = [f"{record.image}.png" for record in records]
    is_complete = partial(_is_complete, records=records)
    if shard == WHOLE and merge(out, done, others, names, is_complete):
        return
    device = prepare(compute)
    network = for_inference(load_network(weights, DeepLab, TrainSeg, data.classes), device)
    with resumable_folder(out, done, names, shard) as folder:
        left = left_to_label(folder, shard.pick(records))
        scored = _scored(left, allowed, network, cfg, device)
        # Without a CRF, there is nothing that more processes would speed up.
        masks = ordered_map(partial(mask_of, crf=crf), scored, crf.workers if crf else 1)
        shown = progress(masks, len(left), f"masks of {split},")
        for record, marks in zip(left, shown, strict=True):
            write_label_map(folder / f"{record.image}.png", marks, data.palette)


def _is_complete(folder: Path, records: Sequence[Record]) -> bool:
    """Check whether a folder holds the label maps of all records, undamaged."""
    return not left_to_label(folder, records)


def _scored(
    records: Sequence[Record],
    allowed: Allowed,
    network: DeepLab,
    cfg: InferSeg,
    device: torch.device,
) -> Iterator[tuple[str, Scored]]:
    for record in records:
        labels = np.array(allowed(record), np.uint8)
        image = read_image(record.file)
        probabilities = class_probabilities(network, image, cfg, device)[labels]
        size = (record.height, record.width)
        yield record.image, Scored(np.asarray(image), probabilities, size, labels)
