"""How much mIoU the dense CRF's working size (`crf.max_side`) costs, and how much time it saves.

    python -m benchmarks.crf_size results/demo                 all training images of a run
    python -m benchmarks.crf_size results/demo --images 150    the first 150 of them

The maps are those of the run's stage `readout`. For each image, all sizes take turns in the same
process, so that their times are comparable whatever else the machine does. The record names the
run.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import numpy as np

from rca.config import Crf, PseudoLabels, load
from rca.data.cam_store import CamStore
from rca.data.images import read_image
from rca.data.index import read_index
from rca.evaluation.confusion import confusion_matrix, mean_iou
from rca.labels.evidence import read_evidence
from rca.runtime.files import write_json
from rca.runtime.progress import progress
from rca.stages.crf import refine
from tools.records import origin

RECORD = Path("benchmarks/results/crf_size.json")
SIDES = (None, 400, 320, 240, 160)


def measure(results: Path, cfg: Crf, rules: PseudoLabels, images: int | None) -> list[dict]:
    """Measure each size: mIoU in percent, share of full size's time, percent of equal pixels."""
    data = read_index(results / "index")
    records = [record for record in data.split("train") if record.mask][:images]
    store = CamStore(results / "readout/train")
    classes = len(data.classes)
    matrices = {side: np.zeros((classes + 1, classes + 2), np.int64) for side in SIDES}
    seconds, alike = dict.fromkeys(SIDES, 0.0), dict.fromkeys(SIDES, 0.0)
    for record in progress(records, len(records), "images"):
        evidence = read_evidence(store, record, data.classes)
        photograph, truth = np.asarray(read_image(record.file)), data.truth(record)
        whole = None
        for side in SIDES:
            start = time.perf_counter()
            labels = refine(evidence, photograph, cfg.model_copy(update={"max_side": side}), rules)
            seconds[side] += time.perf_counter() - start
            whole = labels if whole is None else whole
            alike[side] += float((labels == whole).mean())
            matrices[side] += confusion_matrix(truth, labels, classes)
    return [
        {
            "max_side": side,
            "miou": round(100 * mean_iou(matrices[side], "strict"), 2),
            "time_of_full": round(seconds[side] / seconds[None], 3),
            "pixels_alike": round(100 * alike[side] / len(records), 2),
            "images": len(records),
        }
        for side in SIDES
    ]


def main() -> None:
    """Measure on the given run, and write the record."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("results", type=Path)
    options.add_argument("--params", type=Path, default=Path("params.yaml"))
    options.add_argument("--images", type=int)
    chosen: Any = options.parse_args()
    params = load(chosen.params)
    rows = measure(chosen.results, params.crf, params.pseudo_labels, chosen.images)
    for row in rows:
        print(row)
    write_json(RECORD, {"run": chosen.results.name, "sizes": rows, **origin()})


if __name__ == "__main__":
    main()
