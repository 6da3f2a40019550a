"""One line about what each stage made, from the files that it wrote.

No function here reads a mask. Scores come from the files of `evaluate`, which may read masks.
"""

from __future__ import annotations

import csv
import json
from pathlib import Path

SCORED = {"crf_train": "labels after the CRF", "network_val": "network"}


def brought(data: Path) -> str:
    """Count the data set's photographs, and say where they are."""
    return f"{_count(data / 'JPEGImages', '*')} photographs in {data}"


def indexed(index: Path) -> str:
    """Count the images of each split, and the classes."""
    dataset = json.loads((index / "dataset.json").read_text(encoding="utf-8"))
    training, validation = _splits(index)
    classes = len(dataset["classes"])
    return f"{training} training and {validation} validation images of {classes} classes"


def images(index: Path) -> str:
    """Count the images of each split, in short form."""
    training, validation = _splits(index)
    return f"{training} + {validation} images"


def trained(out: Path) -> str:
    """Count the epochs, and give the loss of the first and of the last."""
    with (out / "history.csv").open(encoding="utf-8", newline="") as file:
        losses = [float(row["loss"]) for row in csv.DictReader(file)]
    return f"{len(losses)} epochs, loss {losses[0]:.3f} → {losses[-1]:.3f}"


def activation_maps(index: Path) -> str:
    """Say how many images have class activation maps."""
    return f"class activation maps of {images(index)}"


def class_maps(index: Path, out: Path) -> str:
    """Say how many images `readout` made class maps of, and from how many prototypes."""
    nearest = out / "nearest.json"
    of = ""
    if nearest.is_file():
        prototypes = json.loads(nearest.read_text(encoding="utf-8"))
        of = f", from {len(prototypes)} prototypes"
    return f"class maps of {images(index)}{of}"


def label_maps(out: Path, what: str) -> str:
    """Count the label maps, which are of the kind `what`."""
    return f"{what} of {_count(out, '*.png')} images"


def scored(out: Path) -> str:
    """Give the mIoU of the products that matter most."""
    miou = json.loads((out / "miou.json").read_text(encoding="utf-8"))
    known = [
        f"{title} {miou[name]:.1f} %"
        for name, title in SCORED.items()
        if miou.get(name) is not None
    ]
    return f"mIoU: {', '.join(known)}" if known else "nothing to score: there are no true masks"


def reported(out: Path) -> str:
    """Say where the page is."""
    return str(out / "report.html")


def tracked(out: Path) -> str:
    """Say whether the run is in MLflow."""
    run = json.loads((out / "run.json").read_text(encoding="utf-8"))
    return f"run {run['run_name']} is {'' if run['saved'] else 'not '}in MLflow"


def _splits(index: Path) -> tuple[int, int]:
    with (index / "index.csv").open(encoding="utf-8", newline="") as file:
        splits = [row["split"] for row in csv.DictReader(file)]
    return splits.count("train"), splits.count("val")


def _count(folder: Path, pattern: str) -> int:
    return sum(1 for _ in folder.glob(pattern))
