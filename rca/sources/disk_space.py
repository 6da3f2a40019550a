"""An estimate of the disk space that a run needs, made before it starts."""

from __future__ import annotations

import os
from pathlib import Path

from rca.config import Params
from rca.data.user_files import list_folder
from rca.sources.remote_files import COCO14, SBD, VOC12_TEST, VOC12_TRAINVAL

GB = 10**9
# Class maps, label maps, predictions and DVC's copies of them, as a share of the photographs'
# bytes. It is 0.6 on the demo's photographs.
RESULTS = 1.0
# Bytes of the weights and checkpoints of two trainings, DVC's copies and the report, by backbone;
# the larger of the two backbones counts.
TRAINING = {"mobilenet_v2": 0.3 * GB}
LARGE_TRAINING = 3 * GB
MARGIN = 1.1
# Bytes of VOC's photographs: those of train_aug and val, and those of test.
VOC_PHOTOGRAPHS, VOC_TEST_PHOTOGRAPHS = 1.3 * GB, 0.2 * GB


def needed(params: Params) -> int:
    """Estimate the bytes that the run will write in addition to what is there already."""
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
    """Return the bytes of the photographs, and the bytes that stage `download` writes."""
    source = params.download
    if source.source == "archive":
        size = source.archive.stat().st_size
        return size, size
    if source.source == "folder":
        root = source.folder
        sizes = {path: (root / path).stat().st_size for path in list_folder(root).photographs}
        # Most JPEGs are linked; other formats are converted to JPEG.
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
    """Return the bytes of all files in a folder, 0 if there is no such folder."""
    total = 0
    for place, _, files in os.walk(folder):
        for name in files:
            try:
                total += os.lstat(os.path.join(place, name)).st_size
            except FileNotFoundError:
                continue
    return total
