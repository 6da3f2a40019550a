"""Stage `relabel`: what a trained network makes of the training images, for a network after it.

A round of self-training: the network of an earlier training labels the training images, each
restricted to the image's tags, a dense CRF refines them, and `train_seg` trains anew on the result.
No mask is read. Goes beyond the paper.
"""

from __future__ import annotations

from pathlib import Path

from rca.config import Compute, Crf, InferSeg
from rca.data.index import read_training_index
from rca.inference.network_labels import write_network_labels
from rca.runtime.state import STATE, WHOLE, Shard


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
    """Write one label map per training image; a killed run goes on.

    Args:
        cfg: section `infer_seg`, for sizes, scales and flips; its `crf` is not read.
        crf: section `crf`; `method: none` leaves the network's labels as they are.
        compute: device and threads.
        index: folder of the index.
        weights: `weights.safetensors` of the training that teaches.
        out: folder that gets `<image>.png`.
        state: where unfinished work is kept.
        shard: do these of the images alone, and leave them in `state`.

    Raises:
        DataError: an image is missing or cannot be read.
        ConfigError: the weights are missing or of other classes.
    """
    data = read_training_index(index)
    write_network_labels(
        __name__,
        cfg,
        crf if crf.method == "dense" else None,
        compute,
        data=data,
        split="train",
        allowed=lambda record: [0, *(data.classes.index(tag) + 1 for tag in record.tags)],
        index=index,
        weights=weights,
        out=out,
        state=state,
        shard=shard,
    )
