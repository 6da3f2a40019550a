"""Masks of unseen photographs in two ways: by the segmentation network, and from prototypes.

    python -m benchmarks.predict_ways results/demo OTHER/results/demo …

Each folder is a finished run, whose validation images have true masks; several are seeds of one
experiment. Every validation image is segmented as `rca predict` does it, once with
`--weights results/demo` and once with `--weights results/demo/readout`; neither sees a tag.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from benchmarks.masks import miou
from rca.data.index import Index, Record, read_index
from rca.inference.loading import load
from rca.inference.photograph_model import PhotographModel
from rca.runtime.files import write_json
from rca.runtime.progress import progress
from tools.records import origin, place_tables

RECORD = Path("benchmarks/results/predict_ways.json")
PAGE = Path("docs/guides/predict.md")
WAYS = {"network": "", "prototypes": "readout", "prototypes without CRF": "readout"}


def measure(results: Path) -> dict[str, Any]:
    """Compute the mIoU in % of the validation masks of a run, in each way."""
    data = read_index(results / "index")
    metrics = json.loads((results / "evaluate/metrics.json").read_text(encoding="utf-8"))
    scores = {
        way: round(100 * _miou(data, load(results / place, crf=_crf(way))), 3)
        for way, place in WAYS.items()
    }
    images = len(data.split("train")), len(data.split("val"))
    return {"seed": metrics["seed"], "training": images[0], "validation": images[1], "miou": scores}


def _crf(way: str) -> bool | None:
    return False if way.endswith("without CRF") else None


def _miou(data: Index, model: PhotographModel) -> float:
    records = [record for record in data.split("val") if record.mask is not None]

    def labels_of(record: Record) -> Any:
        return model.predict(record.file).mask

    return miou(data, progress(records, len(records), "validation images"), labels_of)


def summary(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Compute the mean and the deviation of a sample over the seeds, for each way."""
    columns = {way: [run["miou"][way] for run in runs] for way in WAYS}
    return {
        way: {
            "mean": round(mean(values), 2),
            "std": round(stdev(values), 2) if len(values) > 1 else None,
        }
        for way, values in columns.items()
    }


def table(content: dict[str, Any]) -> str:
    """Format the record as a Markdown table."""
    titles = {
        "network": "segmentation network, with the CRF",
        "prototypes": "prototypes, with the CRF",
        "prototypes without CRF": "prototypes, without it",
    }
    lines = ["| masks from | mIoU in % |", "|---|---:|"]
    for way, spread in content["summary"].items():
        lines.append(f"| {titles[way]} | {spread['mean']:.1f} ± {spread['std']:.1f} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure every run, write the record and render its table."""
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("results", type=Path, nargs="+", help="results/<experiment> of each seed")
    options.add_argument("--out", type=Path, default=RECORD)
    asked = options.parse_args()
    runs = [measure(results) for results in asked.results]
    content = {**origin(), "summary": summary(runs), "runs": runs}
    write_json(asked.out, content)
    print(table(content))
    if asked.out == RECORD:
        place_tables(PAGE, {str(RECORD): table(content)})


if __name__ == "__main__":
    main()
