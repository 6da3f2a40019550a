"""Peak memory of stage `readout` at the size of VOC and of COCO, on synthetic data.

    python -m benchmarks.readout_memory          both, one after the other
    python -m benchmarks.readout_memory voc12    one of them

An index, CAM stores and files of sampled features are made for as many images as the data set has,
with its number of classes and MobileNetV2's channels. The prototypes are then fitted to them, as in
the stage. Whole images' features are left out: the stage computes them one image at a time.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from rca.config import Readout
from rca.data.cam_store import CamShard, CamStore
from rca.data.index import Index, Record, in_pieces
from rca.models.backbones import Backbone
from rca.readout.pixels import Reader, pixels_an_image
from rca.readout.sample import ImageSample, draw_pixels, write_sample
from rca.runtime.files import write_json
from rca.stages.readout import fit_and_write
from tools.records import origin, peak_memory

RECORD = Path("benchmarks/results/readout_memory.json")
SETS = {"voc12": (10_582, 20), "coco14": (82_081, 80)}  # training images, classes
WIDTHS = [96, 160]  # MobileNetV2's blocks 13 and 16
GRID = (15, 20)
CFG = Readout(method="prototypes", blocks=[13, 16])


def index_of(name: str, folder: Path) -> Index:
    """Make an index of as many images as the data set has, each with one or two tags."""
    images, classes = SETS[name]
    names = tuple(f"class{number}" for number in range(classes))
    draws = np.random.default_rng(0)
    records = tuple(
        Record(
            f"{number:06d}", "train", folder / "none.jpg", None, None, 320, 240,
            tuple(names[tag] for tag in sorted({*draws.integers(classes, size=2).tolist()})),
        )
        for number in range(images)
    )  # fmt: skip
    return Index(folder, names, np.zeros(256, np.uint8), np.zeros((256, 3), np.uint8), records)


def measure(name: str, folder: Path) -> dict[str, float]:
    """Fit once to what `fabricate` wrote; return the peak resident memory in GB and the seconds."""
    data = index_of(name, folder)
    pieces = in_pieces(data.records, CFG.shard_size)
    files = [folder / f"sample/{number:05d}.safetensors" for number in range(len(pieces))]
    stores = {"train": CamStore(folder / "train")}
    reader = Reader(CFG, Backbone(), torch.device("cpu"), stores, WIDTHS, data)
    before = peak_memory() / 1000
    start = time.monotonic()
    fit_and_write(reader, pieces, files, 0, folder)
    seconds = time.monotonic() - start
    peak = peak_memory() / 1000
    return {
        "images": len(data.records),
        "classes": len(data.classes),
        "peak_gb": round(peak, 2),
        "before_gb": round(before, 2),
        "seconds": round(seconds),
    }


def fabricate(name: str, folder: Path) -> None:
    """Write CAM stores and sampled features."""
    data = index_of(name, folder)
    draws = np.random.default_rng(1)
    most = pixels_an_image(CFG, WIDTHS, len(data.records))
    for number, piece in enumerate(in_pieces(data.records, CFG.shard_size)):
        shard, samples = CamShard(8), {}
        for record in piece:
            tags = np.array([data.classes.index(tag) for tag in record.tags])
            shard.add(record.image, tags, draws.random((len(tags), *GRID), np.float32))
            places = draw_pixels(GRID, most, torch.Generator().manual_seed(number))
            features = draws.standard_normal((len(places), sum(WIDTHS)), np.float32)
            samples[record.image] = ImageSample(torch.from_numpy(features).half(), places, GRID)
        shard.write(folder / f"train/cams-{number:05d}.safetensors")
        write_sample(folder / f"sample/{number:05d}.safetensors", samples)


def in_process(step: str, name: str, folder: Path) -> str:
    """Run a step in its own process, for its memory alone; return the last line it prints."""
    command = [sys.executable, "-m", "benchmarks.readout_memory", step, name, str(folder)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return done.stdout.rpartition("\n")[0].rpartition("\n")[2]


def main() -> None:
    """Measure the given data sets, or all; or do one step of a measurement."""
    match sys.argv[1:]:
        case ["fabricate", name, folder]:
            fabricate(name, Path(folder))
        case ["measure", name, folder]:
            print(json.dumps(measure(name, Path(folder))))
        case chosen:
            found = {}
            for name in chosen or SETS:
                with tempfile.TemporaryDirectory() as folder:
                    in_process("fabricate", name, Path(folder))
                    found[name] = json.loads(in_process("measure", name, Path(folder)))
                print(name, found[name], flush=True)
            write_json(RECORD, {"sets": found, **origin()})


if __name__ == "__main__":
    main()
