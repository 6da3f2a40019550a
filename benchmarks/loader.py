"""Whether reading and augmenting photographs can keep up with the training step.

    python -m benchmarks.loader              measure, and print the table
    python -m benchmarks.loader --record     and record it, with its table in the docs

For both trainings of each preset for VOC and COCO, with views exactly as in the preset: the CPU
time of one view of a full-size photograph, and the views per second that the preset's worker
processes give on as many cores. A training step that takes longer than its batch of views never
waits. The photographs are the embedded ones, enlarged to the usual size of the data set.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from benchmarks.rehearsal.fabricate import read_sources
from benchmarks.rehearsal.tables import markdown
from rca.config import Params, load
from rca.data.datasets import TrainingImages
from rca.data.index import Record
from rca.training.seeds import generator
from tools.records import origin, publish

RECORD, PAGE = Path("benchmarks/results/loader.json"), Path("docs/explanation/speed.md")
PRESETS = {"voc12": 500, "voc12_paper": 500, "coco14": 640}  # longer side of the data set's images
PHOTOGRAPHS = 40
REPEATS = 3
COLUMNS = ("preset", "training", "one view, ms", "workers", "views a second", "batch", "ms a batch")


def photographs(folder: Path, side: int) -> list[Record]:
    """Write embedded photographs with a longer side of `side` pixels, and list their records."""
    found = []
    for number, source in enumerate(read_sources()[:PHOTOGRAPHS]):
        image = Image.fromarray(source.photograph)
        factor = side / max(image.size)
        image = image.resize((round(image.width * factor), round(image.height * factor)))
        file = folder / f"{number}.jpg"
        image.save(file, quality=95)
        found.append(Record(str(number), "train", file, None, None, *image.size, ()))
    return found


def seconds_a_view(images: TrainingImages) -> float:
    """Return the CPU seconds of one view: the median over epochs of all images."""
    for position in range(len(images)):  # the files come into the memory
        images[-1, position]
    taken = []
    for epoch in range(REPEATS):
        begun = time.process_time()
        for position in range(len(images)):
            images[epoch, position]
        taken.append((time.process_time() - begun) / len(images))
    return statistics.median(taken)


def trainings(params: Params, records: list[Record]) -> Iterator[tuple[str, TrainingImages, int]]:
    """Yield both trainings of a preset: name, images, and the size of a batch."""
    tags = torch.zeros(len(records), 1)
    for name, cfg, labels in (
        ("train_cam", params.train_cam, None),
        ("train_seg", params.train_seg, blank),
    ):
        seeds = partial(generator, 0, name)
        yield name, TrainingImages(records, tags, cfg.view, seeds, labels), cfg.batch_size


def blank(record: Record) -> np.ndarray:
    """Return a label map of a photograph's size."""
    return np.zeros((record.height, record.width), np.uint8)


def measure() -> dict[str, Any]:
    """Measure every training of every preset, one thread each."""
    torch.set_num_threads(1)  # as in a worker process
    found = []
    for preset, side in PRESETS.items():
        params = load(Path(f"configs/{preset}.yaml"))
        with tempfile.TemporaryDirectory() as folder:
            records = photographs(Path(folder), side)
            for name, images, batch in trainings(params, records):
                seconds = seconds_a_view(images)
                found.append(
                    {
                        "preset": preset,
                        "training": name,
                        "view_s": round(seconds, 5),
                        "workers": params.compute.workers,
                        "batch": batch,
                    }
                )
    return {**origin(), "rows": found}


def rows(content: dict[str, Any]) -> list[tuple[str, ...]]:
    """Set out each training: the time of a view, and what the preset's workers give."""
    found: list[tuple[str, ...]] = [COLUMNS]
    for row in content["rows"]:
        rate = row["workers"] / row["view_s"]
        found.append(
            (
                f"`{row['preset']}`",
                f"`{row['training']}`",
                f"{row['view_s'] * 1000:.1f}",
                f"{row['workers']}",
                f"{rate:,.0f}",
                f"{row['batch']}",
                f"{row['batch'] / rate * 1000:.0f}",
            )
        )
    return found


def page_tables(content: dict[str, Any]) -> dict[str, str]:
    """Return the rows as a Markdown table, by its mark in the page."""
    return {str(RECORD): markdown(rows(content))}


def main() -> None:
    """Measure, and print or record the table."""
    publish(__doc__ or "", RECORD, PAGE, measure, page_tables)


if __name__ == "__main__":
    main()
