"""What each stage made, in one line, from the files that it wrote.

None reads a mask: only `evaluate`, which may, knows scores.
"""

from __future__ import annotations

import csv
import json
from pathlib import Path

SCORED = {"crf_train": "labels after the CRF", "network_val": "network"}


def brought(data: Path) -> str:
    """The data set's photographs, and where they are."""
    return f"{_count(data / 'JPEGImages', '*')} photographs in {data}"


def indexed(index: Path) -> str:
    """Images of each split, and classes."""
    dataset = json.loads((index / "dataset.json").read_text(encoding="utf-8"))
    training, validation = _splits(index)
    classes = len(dataset["classes"])
    return f"{training} training and {validation} validation images of {classes} classes"


def images(index: Path) -> str:
    """Images of each split, in short."""
    training, validation = _splits(index)
    return f"{training} + {validation} images"


def trained(out: Path) -> str:
    """Epochs, and the loss of the first and the last."""
    with (out / "history.csv").open(encoding="utf-8", newline="") as file:
        losses = [float(row["loss"]) for row in csv.DictReader(file)]
    return f"{len(losses)} epochs, loss {losses[0]:.3f} → {losses[-1]:.3f}"


def activation_maps(index: Path) -> str:
    """Whose class activation maps there are."""
    return f"class activation maps of {images(index)}"


def class_maps(index: Path, out: Path) -> str:
    """What `readout` made: whose class maps, and from how many prototypes."""
    nearest = out / "nearest.json"
    of = ""
    if nearest.is_file():
        prototypes = json.loads(nearest.read_text(encoding="utf-8"))
        of = f", from {len(prototypes)} prototypes"
    return f"class maps of {images(index)}{of}"


def label_maps(out: Path, what: str) -> str:
    """How many label maps there are."""
    return f"{what} of {_count(out, '*.png')} images"


def scored(out: Path) -> str:
    """The scores that matter most."""
    miou = json.loads((out / "miou.json").read_text(encoding="utf-8"))
    known = [
        f"{title} {miou[name]:.1f} %"
        for name, title in SCORED.items()
        if miou.get(name) is not None
    ]
    return f"mIoU: {', '.join(known)}" if known else "nothing to score: there are no true masks"


def reported(out: Path) -> str:
    """Where the page is."""
    return str(out / "report.html")


def tracked(out: Path) -> str:
    """Whether MLflow has the run."""
    run = json.loads((out / "run.json").read_text(encoding="utf-8"))
    return f"run {run['run_name']} is {'' if run['saved'] else 'not '}in MLflow"


def _splits(index: Path) -> tuple[int, int]:
    with (index / "index.csv").open(encoding="utf-8", newline="") as file:
        splits = [row["split"] for row in csv.DictReader(file)]
    return splits.count("train"), splits.count("val")


def _count(folder: Path, pattern: str) -> int:
    return sum(1 for _ in folder.glob(pattern))
