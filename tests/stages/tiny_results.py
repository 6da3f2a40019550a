"""A results folder of three images of a few pixels, small enough to be scored by hand.

Classes: 1 cat, 2 dog. Training images `a` and `b` (`b` is all background but for two ignored
pixels), validation image `v`.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from rca.config import Params
from rca.data.cam_store import CamShard
from rca.data.images import write_label_map
from rca.data.index import Index, Record, write_index
from rca.data.palette import voc_palette
from rca.stages import evaluate

CLASSES = ("cat", "dog")
TAGS = {"a": ("cat",), "b": ("dog",), "v": ("cat", "dog")}
TRUTH = {
    "a": [[0, 0, 1, 1], [0, 255, 1, 1]],
    "b": [[0, 0, 255, 255]],
    "v": [[0, 2], [2, 2]],
}
CAMS = {
    "a": [[[0, 0.2, 0.9, 0.9], [0.3, 0.9, 0.1, 1]]],
    "b": [[[0.1, 0.2, 0.1, 0]]],
    "v": [[[0, 0.1], [0.2, 0.2]], [[0.1, 0.9], [0.8, 1]]],
}
MAPS = {
    "pseudo_labels/a": [[0, 0, 1, 255], [1, 1, 1, 0]],
    "pseudo_labels/b": [[0, 0, 0, 0]],
    "crf/a": [[0, 0, 1, 1], [0, 0, 1, 1]],
    "crf/b": [[0, 255, 2, 0]],
    "infer_seg/pseudo/v": [[0, 2], [2, 1]],
    "infer_seg/truth/v": [[0, 2], [2, 2]],
}
HISTORY = "epoch,loss,classification\n1,2.5,1.5\n2,1.25,0.75\n3,1.0,0.5\n"


def tiny_params(policy: str = "strict", readout: str = "cams", **evaluated) -> Params:
    """Those of the tiny results; both networks belong to the run."""
    background = "posterior" if readout == "prototypes" else "threshold"
    return Params.model_validate(
        {
            "experiment": "tiny",
            "download": {"source": "archive", "name": "d", "archive": "a.tar", "sha256": "0" * 64},
            "readout": {"method": readout},
            "pseudo_labels": {"threshold": 0.25, "background": background},
            "train_seg": {"supervisions": {"pseudo": "crf", "truth": "index"}},
            "evaluate": {
                "ignored_predictions": policy, "processes": 1, "resamples": 50, **evaluated,
            },
        }
    )  # fmt: skip


def write_results(
    folder: Path,
    *,
    masks: bool = True,
    truth_network: bool = True,
    classes: tuple[str, ...] = CLASSES,
    source: dict[str, str] | None = None,
) -> Path:
    """Write the data set, its index and every stage's output but those of evaluate and report.

    `classes` may have more than `CLASSES` after those; `source` is what the data says of itself.
    """
    data, results = folder / "data", folder / "tiny"
    records = []
    for image, tags in TAGS.items():
        truth = np.array(TRUTH[image], np.uint8)
        file, mask = data / f"images/{image}.png", data / f"Masks/{image}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        colours = np.random.default_rng(ord(image[0])).integers(0, 256, (*truth.shape, 3), np.uint8)
        Image.fromarray(colours).save(file)
        write_label_map(mask, truth, voc_palette())
        split = "val" if f"infer_seg/pseudo/{image}" in MAPS else "train"
        size = truth.shape[::-1]
        records.append(Record(image, split, file, mask if masks else None, None, *size, tags))
    values = np.full(256, 255, np.uint8)
    values[:3] = range(3)
    write_index(
        results / "index", Index(data, classes, values, voc_palette(), tuple(records), source)
    )
    for split in ("train", "val"):
        shard = CamShard(16)
        for record in records:
            if record.split == split:
                present = np.array([CLASSES.index(tag) for tag in record.tags])
                shard.add(record.image, present, np.array(CAMS[record.image]))
        for stage in ("infer_cam", "readout"):
            shard.write(results / f"{stage}/{split}/cams-00000.safetensors")
    for name, labels in MAPS.items():
        if truth_network or "truth" not in name:
            write_label_map(results / f"{name}.png", np.array(labels, np.uint8), voc_palette())
    for stage in ("train_cam", "train_seg/pseudo", *(["train_seg/truth"] if truth_network else [])):
        (results / stage).mkdir(parents=True)
        (results / stage / "history.csv").write_text(HISTORY)
    return results


def evaluate_results(results: Path, params: Params, out: str = "evaluate") -> Path:
    """Score the tiny results, as the stage does; returns its folder."""
    evaluate.run(
        params.evaluate,
        params,
        index=results / "index",
        cams=results / "infer_cam",
        readout=results / "readout",
        pseudo_labels=results / "pseudo_labels",
        crf=results / "crf",
        relabel=results / "relabel",
        predictions=results / "infer_seg",
        out=results / out,
    )
    return results / out
