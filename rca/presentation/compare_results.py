"""The results that `rca compare` compares, and which of their files are on this machine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rca.data.index import Record, read_index
from rca.evaluation.comparison import Difference
from rca.evaluation.paired import Gains, Side, gain_intervals
from rca.evaluation.products import NETWORKS, Product
from rca.evaluation.runs import Runs
from rca.presentation.experiments import Experiment
from rca.tracking.find import Found

# Product → folder of its label maps, and the command that writes them.
LABEL_MAPS = {
    "pseudo_labels_train": ("pseudo_labels", "pseudo-labels"),
    "crf_train": ("crf", "crf"),
    **{
        f"{name}_train": (f"relabel/{name}", "relabel")
        for name in NETWORKS
        if name not in ("pseudo", "truth")
    },
    **{product: (f"infer_seg/{name}", "infer-seg") for name, product in NETWORKS.items()},
}


@dataclass(frozen=True)
class Result:
    """One argument of `rca compare`.

    Attributes:
        runs: one run, or several runs of one method with different seeds.
        found: where each run was found.
    """

    runs: Runs
    found: tuple[Found, ...]

    @property
    def name(self) -> str:
        """The name under which it is shown."""
        return self.runs.name


def on_this_machine(results: Sequence[Result]) -> tuple[list[Experiment], str]:
    """Return the results as experiments whose images can be shown, or none and the reason why."""
    experiments = []
    for result in results:
        folder = result.found[0].folder
        if len(result.found) > 1:
            return [], f"{result.name} stands for {len(result.found)} runs; masks need a single one"
        if folder is None:
            return [], f"only the numbers of {result.name} are here, not its masks"
        if not (folder / "index").is_dir():
            return [], f"{folder} has no index, and so no list of its images"
        metrics = result.found[0].metrics
        experiments.append(Experiment(result.name, folder, read_index(folder / "index"), metrics))
    first = experiments[0].data
    if any(other.data.classes != first.classes for other in experiments):
        return [], "the results have different classes"
    if not (first.records and first.records[0].file.is_file()):
        return [], f"the photographs of {experiments[0].folder} are not in {first.root}"
    return experiments, ""


def label_maps(experiments: Sequence[Experiment], product: str) -> list[Path]:
    """List the folders of a product's label maps in all experiments; none if one lacks it."""
    known = LABEL_MAPS.get(product)
    folders = [experiment.folder / known[0] for experiment in experiments] if known else []
    return folders if all(folder.is_dir() for folder in folders) else []


def shared_records(experiments: Sequence[Experiment], split: str) -> list[Record]:
    """List the first experiment's images of a split that all others also have, at the same size."""
    sizes = [
        {(record.image, record.width, record.height) for record in experiment.data.split(split)}
        for experiment in experiments
    ]
    common = set.intersection(*sizes)
    return [
        record
        for record in experiments[0].data.split(split)
        if (record.image, record.width, record.height) in common
    ]


def paired_gains(
    experiments: Sequence[Experiment], shared: Sequence[Product], found: Sequence[Difference]
) -> dict[str, list[Gains]]:
    """Compute product → the gain of each further experiment over the first, with paired intervals.

    Products whose numbers are not comparable are left out, and those whose label maps are missing.
    """
    spoilt = {product.name for difference in found for product in difference.touches}
    gains = {}
    for product in shared:
        folders = label_maps(experiments, product.name) if experiments else []
        if folders and product.name not in spoilt:
            sides = [
                Side(folder, experiment.metrics["protocol"]["ignored_predictions"])
                for folder, experiment in zip(folders, experiments, strict=True)
            ]
            records = [one for one in shared_records(experiments, product.split) if one.mask]
            if records:
                gains[product.name] = gain_intervals(experiments[0].data, records, sides)
    return gains
