"""The record of benchmarks.method_study: its protocol, every run, their summary, its tables."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from benchmarks.method_variants import EVERYTHING, READINGS
from rca.config import Params
from tools.records import origin

RECORD = Path("benchmarks/results/method_study.json")
# For each reading: the label maps of the scored training images before and after the CRF, those of
# the validation images, and the validation masks of the network trained on the refined labels.
MEASURES = ("maps", "crf", "val_maps", "network")
COLUMNS = {
    "cams.crf": "CAM head, after CRF",
    "prototypes.maps": "prototypes",
    "prototypes.crf": "prototypes, after CRF",
    "prototypes.val_maps": "prototypes, validation",
    "prototypes.network": "network, validation",
}
# Sections that a measurement depends on.
SECTIONS = (
    "compute",
    "index",
    "train_cam",
    "infer_cam",
    "readout",
    "pseudo_labels",
    "crf",
    "train_seg",
    "infer_seg",
)


def measured(params: Params) -> dict[str, Any]:
    """Return the sections that a measurement depends on."""
    content = params.model_dump(mode="json")
    return {name: content[name] for name in SECTIONS}


def summary(runs: Sequence[dict], base: Params, every: int) -> dict[str, Any]:
    """Build the record: protocol, configuration, code and machine, every run, and their summary."""
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
            "scored": {
                "maps, crf": f"one training image in {every}, by name; its tags known",
                "val_maps, network": "the validation images, with the classes found in them",
            },
            "readings": READINGS,
            "threshold": base.pseudo_labels.threshold,
            "threshold_chosen_by": "fixed in the base for all variants, no mask seen",
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
    """Compute mean and deviation over the seeds, of each measure and its gain over the reference.

    The gain pairs runs of the same seed. The deviation is the sample standard deviation, None for
    a single run. A run that diverged has no score; its seed is listed apart.
    """
    found: dict[str, Any] = {
        "seeds": [run["seed"] for run in runs if "diverged" not in run],
        "diverged": [run["seed"] for run in runs if "diverged" in run],
    }
    for reading in READINGS:
        for name in MEASURES:
            values = list(_by_seed(runs, reading, name).values())
            gains = paired_gains(runs, reference, reading, name)
            if values:
                found[f"{reading}.{name}"] = _spread(values)
            if gains:
                found[f"{reading}.{name}_gain"] = _spread(gains)
    return found


def paired_gains(
    runs: Sequence[dict], reference: Sequence[dict], reading: str, measure: str
) -> list[float]:
    """List the gains of some runs over those of the reference, for each seed that both have."""
    own, before = (_by_seed(some, reading, measure) for some in (runs, reference))
    return [own[seed] - before[seed] for seed in sorted(own) if seed in before]


def _by_seed(runs: Sequence[dict], reading: str, measure: str) -> dict[int, float]:
    """Map the seeds of those runs that have the measure to its value."""
    values = {run["seed"]: run["miou"][reading].get(measure) for run in runs}
    return {seed: value for seed, value in values.items() if value is not None}


def table(content: dict[str, Any], names: Iterable[str], columns: Iterable[str]) -> str:
    """Render the results of the variants `names` as a Markdown table.

    Args:
        content: The content of the record.
        names: The variants, one for each row; those that are not measured are left out.
        columns: The keys of `COLUMNS` to show, each with its gain.
    """
    columns = list(columns)
    titles = " | ".join(f"{COLUMNS[column]} | gain" for column in columns)
    lines = [f"| mIoU in % | {titles} |", f"|---{'|---:' * 2 * len(columns)}|"]
    for name in names:
        if row := content["summary"].get(name):
            cells = [EVERYTHING[name].title + _without(row["diverged"])]
            for column in columns:
                cells += [_cell(row.get(column)), _cell(row.get(f"{column}_gain"), "+")]
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def read_runs(folder: Path) -> list[dict]:
    """Read the runs measured in `folder`, sorted by variant and seed."""
    runs = [json.loads(path.read_text(encoding="utf-8")) for path in folder.glob("*.json")]
    return sorted(runs, key=lambda run: (run["variant"], run["seed"]))


def _without(diverged: Sequence[int]) -> str:
    """Say which seeds a row lacks, because their trainings diverged."""
    if not diverged:
        return ""
    which = "seeds" if len(diverged) > 1 else "seed"
    return f" (diverged with {which} {', '.join(map(str, diverged))})"


def _cell(spread: dict[str, float | None] | None, sign: str = "") -> str:
    if spread is None:
        return ""
    deviation = "" if spread["std"] is None else f" ± {spread['std']:.1f}"
    return f"{spread['mean']:{sign}.1f}{deviation}"


def _spread(numbers: Sequence[float]) -> dict[str, float | None]:
    deviation = round(stdev(numbers), 3) if len(numbers) > 1 else None
    return {"mean": round(mean(numbers), 3), "std": deviation}
