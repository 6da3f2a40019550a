"""How much time the CRF saves on a network's masks by leaving out labels that cannot win.

    python -m benchmarks.crf_labels results/voc12_animals --params PARAMS    100 validation images

The probabilities are those of the run's segmentation network, once as they are, and once beside
further classes that no photograph shows, so that there are 21 labels, as in VOC. Each of those gets
a probability of 0.0005 everywhere. For each image, the CRF with all labels (`pydensecrf`) and with
`contenders` alone (`pydensecrf`, `numba`) take turns in one process with one thread, and processor
time is compared.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.crf_speed import Example, timed
from rca.config import Crf, Params, TrainSeg, load
from rca.data.images import read_image
from rca.data.index import Index, read_index
from rca.inference.probabilities import class_probabilities
from rca.labels.crf import contenders
from rca.models.deeplab import DeepLab
from rca.models.inference import for_inference
from rca.models.weights import load_network
from rca.runtime.files import write_json
from rca.runtime.progress import progress
from tools.records import origin

RECORD = Path("benchmarks/results/crf_labels.json")
IMPLEMENTATIONS = ("pydensecrf", "numba")
LABELS = 21
ABSENT = 0.0005  # the probability of a class that no photograph shows


def of_network(
    weights: Path, data: Index, params: Params, images: int
) -> tuple[int, Iterator[Example]]:
    """Return the number of chosen validation photographs, and them with their probabilities."""
    device = torch.device("cpu")
    network = for_inference(load_network(weights, DeepLab, TrainSeg, data.classes), device)
    records = data.split("val")
    records = records[:: max(len(records) // images, 1)][:images]

    def examples() -> Iterator[Example]:
        for record in records:
            image = read_image(record.file)
            yield np.asarray(image), class_probabilities(network, image, params.infer_seg, device)

    return len(records), examples()


def with_absent(examples: Iterable[Example]) -> Iterator[Example]:
    """Yield photographs with `LABELS` probabilities, of which the last are `ABSENT` everywhere."""
    for image, probabilities in examples:
        count = LABELS - len(probabilities)
        absent = np.full((count, *probabilities.shape[1:]), ABSENT, np.float32)
        yield image, np.concatenate([probabilities * np.float32(1 - count * ABSENT), absent])


def measure(examples: Iterable[Example], cfg: Crf) -> dict[str, Any]:
    """Measure the speed with `contenders` against that with all labels, and equal pixels."""
    everything, spent = 0.0, dict.fromkeys(IMPLEMENTATIONS, 0.0)
    alike: dict[str, list[float]] = {name: [] for name in IMPLEMENTATIONS}
    kept: list[int] = []
    labels = 0
    ways = {name: cfg.model_copy(update={"implementation": name}) for name in IMPLEMENTATIONS}
    for image, probabilities in examples:
        labels = len(probabilities)
        whole, seconds = timed(image, probabilities, ways["pydensecrf"])
        everything += seconds
        start = time.process_time()
        some = contenders(probabilities, cfg)
        choosing = time.process_time() - start
        for name, way in ways.items():
            if name == "numba" and not kept:  # compiles
                timed(image, probabilities[some], way)
            posteriors, seconds = timed(image, probabilities[some], way)
            spent[name] += choosing + seconds
            alike[name].append(float((some[posteriors.argmax(0)] == whole.argmax(0)).mean()))
        kept.append(len(some))
    return {
        "images": len(kept),
        "labels": labels,
        "labels_kept": {"mean": round(float(np.mean(kept)), 1), "most": max(kept)},
        "times_as_fast": {name: round(everything / spent[name], 2) for name in spent},
        "labels_alike": {name: round(100 * float(np.mean(alike[name])), 4) for name in alike},
        "least_alike": {name: round(100 * min(alike[name]), 3) for name in alike},
    }


def main() -> None:
    """Measure on the given run, and write the record."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("results", type=Path)
    options.add_argument("--network", default="pseudo")
    options.add_argument("--params", type=Path, default=Path("params.yaml"))
    options.add_argument("--images", type=int, default=100)
    chosen: Any = options.parse_args()
    torch.set_num_threads(1)
    params = load(chosen.params)
    weights = chosen.results / "train_seg" / chosen.network / "weights.safetensors"
    data = read_index(chosen.results / "index")
    rows = []
    for beside in (iter, with_absent):
        count, examples = of_network(weights, data, params, chosen.images)
        rows.append(measure(progress(beside(examples), count, "images"), params.crf))
        print(rows[-1])
    write_json(RECORD, {"run": chosen.results.name, "rows": rows, **origin()})


if __name__ == "__main__":
    main()
