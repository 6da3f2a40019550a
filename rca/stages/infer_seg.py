"""Stage `infer_seg`: masks of the validation images, over scales and flips, without their tags.

With `crf: true`, a dense CRF refines the network's probabilities, as in DeepLab.
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
    """Write one label map per validation image; a killed run resumes.

    Args:
        cfg: The section `infer_seg`.
        crf: The section `crf`, used with `infer_seg.crf: true`.
        compute: The device and the number of threads.
        index: The folder of the index.
        weights: The file `weights.safetensors` of `train_seg`.
        out: The folder that gets `<image>.png`.
        state: The folder of all stages' partial work.
        shard: The share of the images to process. If it is not the whole, its results stay in
            `state`.
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
