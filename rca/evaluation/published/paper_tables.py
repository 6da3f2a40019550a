"""The per-class results that the paper prints for VOC 2012, for comparison with those of a run."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rca.evaluation.protocol import inference_in_words

# In the order of the labels, 1 … 20, as in the tables.
VOC_CLASSES = (
    "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow",
    "diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train",
    "tvmonitor",
)  # fmt: skip
COLUMNS = ("background", *VOC_CLASSES)
SOURCE = (
    "Zhou, Zhang, Zhao, Li: Regional Semantic Contrast and Aggregation for Weakly Supervised "
    "Semantic Segmentation, CVPR 2022, supplemental material"
)
VAL_IMAGES = 1449


@dataclass(frozen=True)
class Row:
    """The results of one method.

    Attributes:
        method: The name of the method in the table.
        published: Where the method was published.
        iou: Class → IoU in percent, empty where only the mean is printed.
        miou: The mean as printed.
    """

    method: str
    published: str
    iou: Mapping[str, float]
    miou: float


@dataclass(frozen=True)
class Table:
    """A table of the supplement: `S1`, on VOC 2012 val, or `S2`, on its test set."""

    name: str
    split: str
    rows: tuple[Row, ...]

    def best(self, name: str) -> float:
        """Return the highest IoU that the rows print for a class."""
        return max(row.iou[name] for row in self.rows if name in row.iou)


def published_tables() -> tuple[Table, ...]:
    """Read the supplement's Tables S1 and S2 with every method."""
    return tuple(
        Table(name, split, tuple(_read(Path(__file__).with_name(f"voc12_{split}.csv"))))
        for name, split in (("S1", "val"), ("S2", "test"))
    )


def beside_the_paper(metrics: Mapping[str, Any]) -> dict[str, Any] | None:
    """Collect what the report shows of the paper's tables; None if the classes are not VOC's.

    Args:
        metrics: The content of `metrics.json`.

    Returns:
        `columns`, `source`, `tables`, the run's row `own` in the columns' order, or None if the
        network was not scored, and `faults`: what keeps it from being comparable.
    """
    names = metrics["protocol"]["classes"]
    if sorted(names) != sorted(COLUMNS):
        return None
    run = metrics["products"].get("network_val")
    own = run and {
        "iou": {name: run["iou"][name] for name in COLUMNS},
        "miou": run["miou"],
        "protocol": _in_short(metrics["protocol"], run),
    }
    return {
        "columns": COLUMNS,
        "source": SOURCE,
        "tables": published_tables(),
        "own": own,
        "faults": run and _faults(metrics["protocol"], run),
    }


def _in_short(protocol: Mapping[str, Any], run: Mapping[str, Any]) -> str:
    """Summarise the protocol of the run's row in a line."""
    inference = protocol["segmentation_inference"]
    return (
        f"{run['images']} validation images, {protocol['mask_source']}, predicted 255 "
        f"{protocol['ignored_predictions']} (coverage {run['coverage']:g} %), "
        f"{inference_in_words(inference)}, learnt from {', '.join(protocol['signals'])}"
    )


def _faults(protocol: Mapping[str, Any], run: Mapping[str, Any]) -> list[str]:
    """List the known differences in how the run's row and the table's rows are measured."""
    faults = []
    if run["images"] != VAL_IMAGES:
        faults.append(f"{run['images']} validation images, VOC 2012 val has {VAL_IMAGES}")
    if protocol["ignored_predictions"] != "strict" and run["coverage"] != 100:
        faults.append(f"pixels predicted 255 count as {protocol['ignored_predictions']}")
    return faults


def _read(path: Path) -> list[Row]:
    with path.open(newline="", encoding="utf-8") as file:
        return [
            Row(
                row["method"],
                row["published"],
                {name: float(row[name]) for name in COLUMNS if row[name]},
                float(row["miou"]),
            )
            for row in csv.DictReader(file)
        ]
