"""How much room on the disk a run takes, estimated before it starts."""

from __future__ import annotations

import os
from pathlib import Path

from rca.config import Params
from rca.data.user_files import list_folder
from rca.sources.remote_files import COCO14, SBD, VOC12_TEST, VOC12_TRAINVAL

GB = 10**9
# Of the photographs' bytes: class maps, label maps and predictions, and DVC's copy of them. It is
# 0.6 on the demo's photographs.
RESULTS = 1.0
# Weights and checkpoints of two trainings, DVC's copies and the report, by the larger network.
TRAINING = {"mobilenet_v2": 0.3 * GB}
LARGE_TRAINING = 3 * GB
MARGIN = 1.1
# Bytes of the photographs that take part: VOC's train_aug and val, its test, COCO's train and val.
VOC_PHOTOGRAPHS, VOC_TEST_PHOTOGRAPHS = 1.3 * GB, 0.2 * GB


def needed(params: Params) -> int:
    """Bytes that the run will write beside what is there already."""
    photographs, written = _data(params)
    names = {params.train_cam.backbone.name, params.train_seg.backbone.name}
    training = max(TRAINING.get(name, LARGE_TRAINING) for name in names)
    total = MARGIN * (written + RESULTS * photographs + training)
    there = sum(
        _size(path)
        for path in (
            Path("data") / params.download.name,
            Path("results") / params.experiment,
            Path("state"),
        )
    )
    return max(int(total) - there, 0)


def _data(params: Params) -> tuple[float, float]:
    """Bytes of the photographs, and bytes that stage `download` writes."""
    source = params.download
    if source.source == "archive":
        size = source.archive.stat().st_size
        return size, size
    if source.source == "folder":
        root = source.folder
        sizes = {path: (root / path).stat().st_size for path in list_folder(root).photographs}
        # A JPEG is linked as a rule; any other becomes one.
        copied = (sizes[p] for p in sizes if p.suffix.lower() not in (".jpg", ".jpeg"))
        return sum(sizes.values()), sum(copied)
    if source.source == "voc12_aug":
        photographs = VOC_PHOTOGRAPHS + source.test * VOC_TEST_PHOTOGRAPHS
        files = [VOC12_TRAINVAL, SBD, *[VOC12_TEST] * source.test]
    else:
        photographs = float(sum(file.size for file in COCO14))
        files = [*COCO14]
        if source.have and (source.have / "train2014").is_dir():
            return photographs, 0.1 * photographs  # linked; masks are written
    places = [Path("data/archives"), *filter(None, [source.have])]
    missing = [f for f in files if not any((place / f.name).is_file() for place in places)]
    return photographs, photographs + sum(file.size for file in missing)


def _size(folder: Path) -> int:
    """Bytes of all files in a folder, 0 where there is none."""
    total = 0
    for place, _, files in os.walk(folder):
        for name in files:
            try:
                total += os.lstat(os.path.join(place, name)).st_size
            except FileNotFoundError:
                continue
    return total
