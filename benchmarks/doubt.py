"""How well doubt predicts the true IoU of a run's masks, compared with other measures.

    python -m benchmarks.doubt results/demo     measure, record, render
    python -m benchmarks.doubt --render         only the table in docs/explanation/evaluation.md

Reads a finished run whose photographs have masks. The network segments each validation photograph
once, with the run's own settings. Each measure is reported as its Spearman correlation with the IoU
of the image: 1 means that it orders the images perfectly, 0 that it says nothing about their order.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

import rca
from rca.config import Params, load
from rca.data.images import read_image
from rca.data.index import Record, read_index, read_maskless_index
from rca.evaluation.correlation import spearman
from rca.evaluation.count_images import Maps, Source
from rca.evaluation.doubt_images import LAST
from rca.inference.decision import decide
from rca.labels.doubt import Witness, agreement, from_map
from rca.labels.rules import best_label
from rca.labels.scores import posterior_scores
from rca.presentation.result_files import read_image_table
from rca.runtime.files import write_json
from tools.records import origin, place_tables

RECORD, PAGE = Path("benchmarks/results/doubt.json"), Path("docs/explanation/evaluation.md")
TENTH = 10
TITLES = {
    "readout": "**agreement with the readout’s posteriors**: 1 - doubt",
    "readout_best": "agreement with the readout’s best labels",
    "cam_seeds": "agreement with the CAM seeds",
    "both": "mean of the agreements with posteriors and CAM seeds",
    "readout_itself": "agreement of the readout’s best labels with its posteriors",
    "confidence": "mean posterior of the best label",
    "network": "**agreement with the network’s probabilities**: 1 - doubt of `rca predict`",
    "network_confidence": "mean probability of the network’s best label",
}


def measures(maps: Maps, split: str, record: Record) -> dict[str, float]:
    """Compute the measures of an image's mask that need no network."""
    _, mask = maps.labels(f"{LAST[split]}_{split}", record)
    classes, posteriors = maps.cams(f"readout_{split}", record)
    scores = posterior_scores(posteriors)
    readout = Witness(np.concatenate([[0], classes + 1]).astype(np.uint8), scores)
    best = best_label(scores, classes)
    _, seeds = maps.labels(f"cam_seeds_{split}", record)
    found = {
        "readout": agreement(mask, readout),
        "readout_best": agreement(mask, from_map(best)),
        "cam_seeds": agreement(mask, from_map(seeds)),
        "readout_itself": agreement(best, readout),
        "confidence": float(scores.max(axis=0).mean()),
    }
    return {**found, "both": (found["readout"] + found["cam_seeds"]) / 2}


def measure(results: Path, params: Params) -> dict[str, Any]:
    """Measure each split; return the summary of each."""
    data = read_maskless_index(results / "index")
    model = rca.load(results)
    table = read_image_table(results, read_index(results / "index").classes)
    found = {}
    for split, last in LAST.items():
        folder = {"crf": "crf", "network": "infer_seg/pseudo"}[last]
        sources = {
            f"{last}_{split}": Source("maps", results / folder),
            f"readout_{split}": Source("posteriors", results / "readout" / split),
            f"cam_seeds_{split}": Source("cams", results / "infer_cam" / split),
        }
        maps = Maps.opened(sources, params.evaluate.seed_threshold)
        ious = {
            row["image"]: float(row["iou"])
            for row in table
            if row["product"] == f"{last}_{split}" and row.get("iou")
        }
        rows, truth = [], []
        for record in data.split(split):
            if record.image not in ious:
                continue
            row = measures(maps, split, record)
            if split == "val":
                row |= network_measures(model, record)
            rows.append(row)
            truth.append(ious[record.image])
        found[split] = summary(rows, np.array(truth))
        print(split, found[split], flush=True)
    return found


def network_measures(model: Any, record: Record) -> dict[str, float]:
    """Compute the measures that take the network's probabilities for its own mask."""
    scored = model.score(read_image(record.file))
    return {
        "network": 1 - decide(scored, model.settings.refining).doubt,
        "network_confidence": float(scored.probabilities.max(axis=0).mean()),
    }


def summary(rows: list[dict[str, float]], truth: np.ndarray) -> dict[str, Any]:
    """Summarise one split: images, mean IoU, that of the most doubtful tenth, correlations.

    Args:
        rows: The value of each measure by its name, for each image.
        truth: The IoU in percent of each image.
    """
    columns = {name: np.array([row[name] for row in rows]) for name in rows[0]}
    doubtful = np.argsort(columns["readout"], kind="stable")[: len(rows) // TENTH]
    return {
        "images": len(rows),
        "iou": round(float(truth.mean()), 1),
        "iou_of_the_most_doubtful_tenth": round(float(truth[doubtful].mean()), 1),
        "expected_iou": round(100 * float(columns["readout"].mean()), 1),
        "correlations": {
            name: round(spearman(values, truth), 3) for name, values in columns.items()
        },
    }


def table_of(splits: Mapping[str, Any]) -> str:
    """Render the record as a Markdown table."""
    head = (f"{of['images']} images of {split}" for split, of in splits.items())
    lines = [f"| rank correlation with the IoU | {' | '.join(head)} |", "|---|---:|---:|"]
    for name, title in TITLES.items():
        values = (of["correlations"].get(name) for of in splits.values())
        cells = ("" if value is None else f"{value:.2f}" for value in values)
        lines.append(f"| {title} | {' | '.join(cells)} |")
    for key, title in (
        ("iou", "mean IoU of all images, in %"),
        ("iou_of_the_most_doubtful_tenth", "of the most doubtful tenth"),
    ):
        lines.append(f"| {title} | {' | '.join(f'{of[key]:.1f}' for of in splits.values())} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure unless `--render` is given, then render the table."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("results", type=Path, nargs="?", default=Path("results/demo"))
    options.add_argument("--params", type=Path, default=Path("params.yaml"))
    options.add_argument("--render", action="store_true")
    chosen = options.parse_args()
    if not chosen.render:
        params = load(chosen.params)
        splits = measure(chosen.results, params)
        content = {
            "run": chosen.results.name, "splits": splits,
            "params": params.model_dump(mode="json"), **origin(),
        }  # fmt: skip
        write_json(RECORD, content)
    splits = json.loads(RECORD.read_text(encoding="utf-8"))["splits"]
    place_tables(PAGE, {str(RECORD): table_of(splits)})


if __name__ == "__main__":
    main()
