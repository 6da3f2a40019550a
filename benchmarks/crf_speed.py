"""How fast each implementation of the dense CRF is, and how often it gives pydensecrf's labels.

    python -m benchmarks.crf_speed PHOTOGRAPHS [results/demo]

`PHOTOGRAPHS` is a folder of JPEG files; their score maps are made up: coarse random maps, enlarged
as CAMs are. A second argument names a finished run, whose maps, photographs and working size are
then measured as well. The implementations take turns on each image in one process with one thread,
and processor time is compared, so that the ratios hold whatever else the machine does. Memory is
how much a fresh process grows that has refined a tiny image before. It is read from Linux's /proc.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from rca.config import Crf, load
from rca.data.cam_store import CamStore
from rca.data.images import read_image
from rca.data.index import read_index
from rca.labels import mean_field_numba
from rca.labels.crf import dense_crf
from rca.labels.evidence import read_evidence
from rca.labels.scores import crf_scores, upsample_cams
from rca.runtime.files import write_json
from rca.runtime.progress import progress
from tools.records import origin, peak_memory

RECORD = Path("benchmarks/results/crf_speed.json")
LABELS = (2, 3, 4, 21)
# `first` is numba on an image of a size not seen before: it builds the lattice of places as well.
WAYS = {"pydensecrf": "pydensecrf", "numba": "numba", "numba, first": "numba", "torch": "torch"}

Example = tuple[np.ndarray, np.ndarray]  # a photograph, (H, W, 3), and its scores, (L, H, W)


def made_up(photographs: list[Path], labels: int) -> Iterator[Example]:
    """Yield each photograph with random maps of 16 pixels a cell, as smooth as CAMs are."""
    for number, path in enumerate(photographs):
        image = np.asarray(read_image(path))
        height, width, _ = image.shape
        cells = np.random.default_rng(number).random((labels, height // 16 + 1, width // 16 + 1))
        yield image, upsample_cams(cells.astype(np.float32) ** 2, height, width)


def of_run(results: Path, params: Any, images: int) -> Iterator[Example]:
    """Yield training photographs of a run with the scores that its stage `crf` refines."""
    data = read_index(results / "index")
    store = CamStore(results / "readout/train")
    records = [record for record in data.split("train") if record.tags][:images]
    for record in records:
        maps = read_evidence(store, record, data.classes).maps_at_image_size()
        yield np.asarray(read_image(record.file)), crf_scores(maps, params.pseudo_labels)


def measure(examples: Iterable[Example], count: int, cfg: Crf) -> list[dict]:
    """Measure each implementation: share of pydensecrf's time, percent of its labels."""
    seconds, alike = dict.fromkeys(WAYS, 0.0), dict.fromkeys(WAYS, 0.0)
    largest, measured = dict.fromkeys(WAYS, 0.0), 0
    warm = np.random.default_rng(0).integers(0, 256, (40, 50, 3), np.uint8)
    for image, scores in progress(examples, count, "images"):
        if measured == 0:  # compiles
            tiny = np.ascontiguousarray(scores[:, :40, :50])
            for way in WAYS.values():
                dense_crf(warm, tiny, cfg.model_copy(update={"implementation": way}))
        measured += 1
        reference = None
        for name in WAYS:
            posteriors, spent = _timed(name, image, scores, cfg)
            reference = posteriors if reference is None else reference
            seconds[name] += spent
            alike[name] += float((posteriors.argmax(0) == reference.argmax(0)).mean())
            largest[name] = max(largest[name], float(np.abs(posteriors - reference).max()))
    return [
        {
            "implementation": name,
            "times_as_fast": round(seconds["pydensecrf"] / seconds[name], 2),
            "labels_alike": round(100 * alike[name] / measured, 4),
            "largest_difference": float(f"{largest[name]:.1e}"),
            "images": measured,
        }
        for name in WAYS
    ]


def _timed(name: str, image: np.ndarray, scores: np.ndarray, cfg: Crf) -> tuple[np.ndarray, float]:
    chosen = cfg.model_copy(update={"implementation": WAYS[name]})
    if name == "numba":
        dense_crf(image, scores, chosen)
    elif name == "numba, first":
        mean_field_numba.place_lattice.cache_clear()
    return timed(image, scores, chosen)


def timed(image: np.ndarray, scores: np.ndarray, cfg: Crf) -> tuple[np.ndarray, float]:
    """Return the CRF's posteriors, and the seconds of processor time that they took."""
    start = time.process_time()
    posteriors = dense_crf(image, scores, cfg)
    return posteriors, time.process_time() - start


def memory(photograph: Path, labels: int) -> dict[str, float]:
    """Measure how many MB of memory each implementation needs for a photograph."""
    with multiprocessing.get_context("spawn").Pool(1, maxtasksperchild=1) as pool:
        ways = ("pydensecrf", "numba", "torch")
        return {way: pool.apply(_growth, (way, photograph, labels)) for way in ways}


def _growth(way: str, photograph: Path, labels: int) -> float:
    torch.set_num_threads(1)
    cfg = Crf().model_copy(update={"implementation": way})
    ((image, scores),) = made_up([photograph], labels)
    dense_crf(image[:40, :50], scores[:, :40, :50].copy(), cfg)
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts again from here
    before = peak_memory()
    dense_crf(image, scores, cfg)
    return round(peak_memory() - before, 1)


def main() -> None:
    """Measure on the photographs, and on the given run; write the record."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("photographs", type=Path)
    options.add_argument("run", type=Path, nargs="?")
    options.add_argument("--images", type=int, default=20)
    options.add_argument("--run-images", type=int, default=100)
    options.add_argument("--params", type=Path, default=Path("params.yaml"))
    options.add_argument("--record", type=Path, default=RECORD)
    chosen: Any = options.parse_args()
    torch.set_num_threads(1)
    everything = sorted(chosen.photographs.glob("*.jpg"))
    photographs = everything[:: max(len(everything) // chosen.images, 1)][: chosen.images]
    record: dict[str, Any] = {"photographs": {"folder": chosen.photographs.name}}
    for labels in LABELS:
        rows = measure(made_up(photographs, labels), len(photographs), Crf())
        record["photographs"][f"{labels} labels"] = rows
        print(labels, "labels", json.dumps(rows, indent=1))
    if chosen.run:
        params = load(chosen.params)
        examples = of_run(chosen.run, params, chosen.run_images)
        rows = measure(examples, chosen.run_images, params.crf)
        record["run"] = {"name": chosen.run.name, "max_side": params.crf.max_side, "rows": rows}
        print(json.dumps(record["run"], indent=1))
    record["memory_mb"] = {f"{labels} labels": memory(photographs[0], labels) for labels in (3, 21)}
    print(record["memory_mb"])
    write_json(chosen.record, {**record, **origin()})


if __name__ == "__main__":
    main()
