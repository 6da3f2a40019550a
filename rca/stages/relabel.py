"""Stage `relabel`: a trained network's labels of the training images, to train the next network on.

This is a round of self-training. The network of an earlier training labels the training images,
restricted to each image's tags; a dense CRF refines the labels, and `train_seg` trains a new
network on them. No mask is read. This goes beyond the paper.
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
    """Write one label map per training image; a killed run resumes.

    Args:
        cfg: The section `infer_seg`, for sizes, scales and flips; its `crf` is not used.
        crf: The section `crf`; `method: none` leaves the network's labels as they are.
        compute: The device and the number of threads.
        index: The folder of the index.
        weights: The file `weights.safetensors` of the teacher.
        out: The folder that gets `<image>.png`.
        state: The folder of all stages' partial work.
        shard: The share of the images to process. If it is not the whole, its results stay in
            `state`.

    Raises:
        DataError: An image is missing or cannot be read.
        ConfigError: The weights are missing or have other classes.
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
