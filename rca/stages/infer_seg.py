"""Stage `infer_seg`: masks of the validation images, over scales and flips; no tag is read.

On request the network's probabilities go through a dense CRF, as DeepLab's do.
"""

from __future__ import annotations

from pathlib import Path

from rca.config import Compute, Crf, InferSeg
from rca.data.index import read_index
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
    every = range(len(data.classes) + 1)
    write_network_labels(
        __name__,
        cfg,
        crf if cfg.crf else None,
        compute,
        data=data,
        split="val",
        allowed=lambda _: every,
        index=index,
        weights=weights,
        out=out,
        state=state,
        shard=shard,
    )
