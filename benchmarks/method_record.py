"""The record of benchmarks.method_study: its protocol, every run, what they come to, its tables."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from benchmarks.method_variants import EVERYTHING
from benchmarks.records import origin
from rca.config import Params

RECORD = Path("benchmarks/results/method_study.json")
MEASURES = ("cam_seeds", "pseudo_labels", "crf")
# Sections that a measurement depends on.
SECTIONS = ("compute", "index", "train_cam", "infer_cam", "pseudo_labels", "crf")


def measured(params: Params) -> dict[str, Any]:
    """The sections that a measurement depends on."""
    content = params.model_dump(mode="json")
    return {name: content[name] for name in SECTIONS}


def summary(runs: Sequence[dict], base: Params, every: int) -> dict[str, Any]:
    """The record: protocol, configuration, code and machine, every run, and what they come to."""
    of_variant = {
        name: found
        for name in EVERYTHING
        if (found := [run for run in runs if run["variant"] == name])
    }
    return {
        "protocol": {
            "measure": "mIoU in % over background and the classes, pixels counted over all images "
            "scored, the truth's 255 left out, a pixel labelled 255 counts as a miss",
            "classes": ["background", *(base.index.classes or ())],
            "scored": f"one training image in {every}, by name; its tags known",
            "images": sorted({run["images"] for run in runs}),
            "threshold": base.pseudo_labels.threshold,
            "threshold_chosen_by": "fixed in the preset for all variants, no mask seen",
            "sweep": "every threshold, for analysis; nothing is chosen by it",
            "supervision": ["image tags", "ImageNet-pretrained backbone"],
            "same_for_all": "data, order and views of each seed, number of steps",
        },
        **origin(),
        "base": measured(base),
        "variants": {
            name: {"changes": EVERYTHING[name].changes, "reference": EVERYTHING[name].reference}
            for name in of_variant
        },
        "summary": {
            name: summarised(found, of_variant.get(EVERYTHING[name].reference or "", []))
            for name, found in of_variant.items()
        },
        "runs": [run for found in of_variant.values() for run in found],
    }


def summarised(runs: Sequence[dict], reference: Sequence[dict]) -> dict[str, Any]:
    """Mean and deviation over the seeds of each measure, and of the gain over the reference's.

    The gain pairs runs of the same seed. The deviation is that of a sample, None of a single run.
    """
    before = {run["seed"]: run["miou"] for run in reference}
    values: dict[str, list[float]] = {
        name: [run["miou"][name] for run in runs] for name in MEASURES
    }
    values["cam_seeds_best_of_sweep"] = [max(run["cam_seeds_sweep"].values()) for run in runs]
    for name in MEASURES:
        values[f"{name}_gain"] = [
            run["miou"][name] - before[run["seed"]][name] for run in runs if run["seed"] in before
        ]
    return {
        "seeds": [run["seed"] for run in runs],
        **{name: _spread(numbers) for name, numbers in values.items() if numbers},
    }


def table(content: dict[str, Any], names: Iterable[str]) -> str:
    """What the variants `names` come to, as a Markdown table."""
    lines = [
        "| mIoU in % | CAM seeds | gain | pseudo-labels after CRF | gain |",
        "|---|---:|---:|---:|---:|",
    ]
    for name in names:
        if row := content["summary"].get(name):
            cells = [EVERYTHING[name].title]
            for measure in ("cam_seeds", "crf"):
                cells += [_cell(row[measure]), _cell(row.get(f"{measure}_gain"), "+")]
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def read_runs(folder: Path) -> list[dict]:
    """The runs measured in `folder`, by variant and seed."""
    runs = [json.loads(path.read_text(encoding="utf-8")) for path in folder.glob("*.json")]
    return sorted(runs, key=lambda run: (run["variant"], run["seed"]))


def _cell(spread: dict[str, float | None] | None, sign: str = "") -> str:
    if spread is None:
        return ""
    deviation = "" if spread["std"] is None else f" ± {spread['std']:.1f}"
    return f"{spread['mean']:{sign}.1f}{deviation}"


def _spread(numbers: Sequence[float]) -> dict[str, float | None]:
    deviation = round(stdev(numbers), 3) if len(numbers) > 1 else None
    return {"mean": round(mean(numbers), 3), "std": deviation}
