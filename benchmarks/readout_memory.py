"""Peak memory of stage `readout` at the size of VOC and of COCO, on fabricated entries.

    python -m benchmarks.readout_memory       two processes, one after the other; records both

An index, CAM stores and files of sampled features are made for as many images as the data set has,
with its number of classes and MobileNetV2's channels, and the prototypes are fitted to them as the
stage does. Features of images are left out: they are computed one image at a time.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from benchmarks.records import origin
from rca.config import Readout
from rca.data.cam_store import CamShard, CamStore
from rca.data.index import Index, Record, in_pieces
from rca.data.pixel_sample import ImageSample, draw_pixels, write_sample
from rca.files import write_json
from rca.models.backbones import Backbone
from rca.stages.readout import fit_and_write
from rca.stages.readout_pixels import Reader, pixels_an_image

RECORD = Path("benchmarks/results/readout_memory.json")
SETS = {"voc12": (10_582, 20), "coco14": (82_081, 80)}  # training images, classes
WIDTHS = [96, 160]  # MobileNetV2's blocks 13 and 16
GRID = (15, 20)


def measure(name: str) -> dict[str, float]:
    """Fit once; peak resident memory in GB and seconds."""
    images, classes = SETS[name]
    names = tuple(f"class{number}" for number in range(classes))
    draws = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        records = tuple(
            Record(
                f"{number:06d}", "train", folder / "none.jpg", None, None, 320, 240,
                tuple(names[tag] for tag in sorted({*draws.integers(classes, size=2).tolist()})),
            )
            for number in range(images)
        )  # fmt: skip
        data = Index(folder, names, np.zeros(256, np.uint8), np.zeros((256, 3), np.uint8), records)
        cfg = Readout(method="prototypes", blocks=[13, 16])
        pieces = in_pieces(records, cfg.shard_size)
        files = fabricate(cfg, data, pieces, folder, draws)
        stores = {"train": CamStore(folder / "train")}
        reader = Reader(cfg, Backbone(), torch.device("cpu"), stores, WIDTHS, data)
        start = time.monotonic()
        fit_and_write(reader, pieces, files, 0, folder)
        seconds = time.monotonic() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
    return {"images": images, "classes": classes, "peak_gb": round(peak, 2), "seconds": seconds}


def fabricate(
    cfg: Readout, data: Index, pieces: list, folder: Path, draws: np.random.Generator
) -> list[Path]:
    """Write CAM stores and sampled features; returns the files of features."""
    most = pixels_an_image(cfg, WIDTHS, len(data.records))
    files = []
    for number, piece in enumerate(pieces):
        shard, samples = CamShard(8), {}
        for record in piece:
            tags = np.array([data.classes.index(tag) for tag in record.tags])
            shard.add(record.image, tags, draws.random((len(tags), *GRID), np.float32))
            places = draw_pixels(GRID, most, torch.Generator().manual_seed(number))
            features = draws.standard_normal((len(places), sum(WIDTHS)), np.float32)
            samples[record.image] = ImageSample(torch.from_numpy(features).half(), places, GRID)
        shard.write(folder / f"train/cams-{number:05d}.safetensors")
        files.append(folder / f"sample/{number:05d}.safetensors")
        write_sample(files[-1], samples)
    return files


def main() -> None:
    """Measure one set in this process, or all in processes of their own."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--only", choices=SETS)
    chosen = options.parse_args()
    if chosen.only:
        print(json.dumps(measure(chosen.only)))
        return
    found = {}
    for name in SETS:
        command = [sys.executable, "-m", "benchmarks.readout_memory", "--only", name]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        found[name] = json.loads(done.stdout.splitlines()[-1])
        print(name, found[name], flush=True)
    write_json(RECORD, {"sets": found, **origin()})


if __name__ == "__main__":
    main()
