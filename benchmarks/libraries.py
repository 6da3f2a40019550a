"""K-means and evaluation beside scikit-learn and torchmetrics: CPU time, and whether they agree.

    OMP_NUM_THREADS=1 python -m benchmarks.libraries             print the table
    OMP_NUM_THREADS=1 python -m benchmarks.libraries --record          and record it

Prototypes are fitted to full memories as large as the paper's, with as many seedings each; the
memories are unit vectors around ten random directions. Masks are of VOC's size, with 21 labels and
255 for what is not scored, in blocks like objects. Times are medians of CPU seconds over turns.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.cluster import KMeans
from sklearn.metrics import confusion_matrix as scikit_confusion
from torchmetrics.functional.classification import multiclass_confusion_matrix

from benchmarks.method_cost import in_turns
from rca.config import IGNORE
from rca.evaluation.confusion import confusion_matrix
from rca.method.prototypes import fit_prototypes
from tools.records import origin, publish

RECORD = Path("benchmarks/results/libraries.json")
PAGE = Path("docs/explanation/speed.md")
CLASSES, SLOTS, CHANNELS, PROTOTYPES, RESTARTS = 20, 500, 512, 10, 4
REPEATS = 5
LABELS, SIZE, MASKS = 21, (375, 500), 40


def clusters(repeats: int) -> dict[str, Any]:
    """Fit the prototypes of all classes, by `fit_prototypes` and class by class by scikit-learn."""
    draws = torch.Generator().manual_seed(0)
    centres = torch.randn(CLASSES, PROTOTYPES, CHANNELS, generator=draws)
    which = torch.randint(PROTOTYPES, (CLASSES, SLOTS), generator=draws)
    noise = torch.randn(CLASSES, SLOTS, CHANNELS, generator=draws)
    memory = F.normalize(centres.gather(1, which[..., None].expand_as(noise)) + noise, dim=2)
    filled = torch.ones(CLASSES, SLOTS, dtype=torch.bool)

    def ours() -> torch.Tensor:
        generator = torch.Generator().manual_seed(0)
        return fit_prototypes(memory, filled, PROTOTYPES, generator, restarts=RESTARTS)[0]

    def scikit() -> torch.Tensor:
        model = KMeans(PROTOTYPES, n_init=RESTARTS, random_state=0)
        centroids = [model.fit(rows).cluster_centers_ for rows in memory.numpy()]
        return torch.from_numpy(np.stack(centroids))

    inertia = {
        name: float(torch.cdist(memory, fit()).amin(dim=2).square().sum())
        for name, fit in (("ours", ours), ("scikit-learn", scikit))
    }
    seconds = in_turns({"ours": ours, "scikit-learn": scikit}, repeats)
    return {
        "what": f"K-means, {PROTOTYPES} prototypes of {SLOTS} regions, {CLASSES} classes",
        "seconds": seconds,
        "agreement": f"inertia {inertia['ours'] / inertia['scikit-learn']:.4f} of scikit-learn's",
    }


def confusion(repeats: int) -> dict[str, Any]:
    """Count the confusion matrix of `MASKS` masks, one by one, in three ways."""
    draws = np.random.default_rng(0)

    def masks(labels: list[int]) -> list[np.ndarray]:
        blocks = draws.choice(labels, (MASKS, 15, 20)).astype(np.uint8)
        return [np.kron(block, np.ones((25, 25), np.uint8)) for block in blocks]

    truth, found = masks([*range(LABELS), IGNORE]), masks(list(range(LABELS)))

    def ours(one: np.ndarray, other: np.ndarray) -> np.ndarray:
        return confusion_matrix(one, other, LABELS - 1)[:, :LABELS]  # the last column: left out

    def metrics(one: np.ndarray, other: np.ndarray) -> np.ndarray:
        tensors = (torch.from_numpy(other).long(), torch.from_numpy(one).long())
        return multiclass_confusion_matrix(*tensors, LABELS, ignore_index=IGNORE).numpy()

    def scikit(one: np.ndarray, other: np.ndarray) -> np.ndarray:
        return scikit_confusion(one.ravel(), other.ravel(), labels=np.arange(LABELS))

    def of_all(count: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> np.ndarray:
        return np.sum([count(*pair) for pair in zip(truth, found, strict=True)], axis=0)

    counts = {"ours": ours, "torchmetrics": metrics, "scikit-learn": scikit}
    ways = {name: partial(of_all, count) for name, count in counts.items()}
    same = all(np.array_equal(of_all(ours), way()) for way in ways.values())
    return {
        "what": f"Confusion matrix, {MASKS} masks of {SIZE[1]} × {SIZE[0]}, {LABELS} labels",
        "seconds": in_turns(ways, repeats),
        "agreement": "the same counts" if same else "other counts",
    }


def page_tables(content: dict[str, Any]) -> dict[str, str]:
    """Return the record as a Markdown table, by its mark in the page."""
    lines = [
        "| what | library | times our CPU time | result |",
        "|---|---|---:|---|",
    ]
    for row in content["rows"]:
        own = row["seconds"]["ours"]
        lines += [
            f"| {row['what']} | {name} | {seconds / own:.1f} | {row['agreement']} |"
            for name, seconds in row["seconds"].items()
            if name != "ours"
        ]
    return {str(RECORD): "\n".join(lines) + "\n"}


def measure() -> dict[str, Any]:
    """Measure everything on one thread."""
    torch.set_num_threads(1)
    return {**origin(), "repeats": REPEATS, "rows": [clusters(REPEATS), confusion(REPEATS)]}


def main() -> None:
    """Measure, and print or record the table."""
    publish(__doc__ or "", RECORD, PAGE, measure, page_tables)


if __name__ == "__main__":
    main()
