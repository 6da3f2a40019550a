"""Stage `infer_seg`: masks of the validation images, over scales and flips; no tag is read.

On request the network's probabilities go through a dense CRF, as DeepLab's do.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import torch

from rca.config import Compute, Crf, InferSeg, TrainSeg
from rca.data.images import read_image, write_label_map
from rca.data.index import Record, left_to_label, read_index
from rca.inference.decision import Scored, mask_of
from rca.inference.scores import class_probabilities
from rca.labels.pool import ordered_map
from rca.models.deeplab import DeepLab
from rca.models.weights import load_network
from rca.progress import progress
from rca.state import STATE, WHOLE, Shard, resumable_folder, state_folder
from rca.training.device import placed, prepare


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
    """Write one label map per validation image; a killed run goes on.

    Args:
        cfg: section `infer_seg`.
        crf: section `crf`, for `crf: true`.
        compute: device and threads.
        index: folder of the index.
        weights: `weights.safetensors` of `train_seg`.
        out: folder that gets `<image>.png`.
        state: where unfinished work is kept.
        shard: do these of the images alone, and leave them in `state`.
    """
    data = read_index(index)
    records = data.split("val")
    device = prepare(compute)
    network = load_network(weights, DeepLab, TrainSeg, data.classes)
    network = placed(network, device)
    refining = crf.model_dump(exclude={"processes"}) if cfg.crf else None
    machine = {"device": device.type, "threads": compute.threads}
    values = {"section": cfg.model_dump(), "crf": refining, **machine}
    files = [weights, *index.iterdir(), *(record.file for record in records)]
    done = state_folder(state, "infer_seg", out, values=values, files=files)
    names = [f"{record.image}.png" for record in records]
    with resumable_folder(out, done, names, shard) as folder:
        left = left_to_label(folder, shard.pick(records))
        scored = ((record.image, _score(network, record, cfg, device)) for record in left)
        # Without a CRF there is nothing that other processes could do faster.
        masks = ordered_map(
            partial(mask_of, crf=crf if cfg.crf else None),
            scored,
            crf.processes if cfg.crf else 1,
        )
        shown = progress(masks, len(left), "masks of val,")
        for record, marks in zip(left, shown, strict=True):
            write_label_map(folder / f"{record.image}.png", marks, data.palette)


def _score(network: DeepLab, record: Record, cfg: InferSeg, device: torch.device) -> Scored:
    image = read_image(record.file)
    probabilities = class_probabilities(network, image, cfg, device)
    return Scored(np.asarray(image), probabilities, (record.height, record.width))
