"""Captions of figures: whose images are shown, how they were chosen, and the scores."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal

from rca.evaluation.comparison import compare
from rca.evaluation.products import PRODUCTS
from rca.evaluation.protocol import in_words
from rca.evaluation.runs import Runs
from rca.presentation.experiments import Experiment
from rca.presentation.score_rows import TITLES

PROBABLE = 0.5  # the posterior above which a class is more probable than all else
SPLITS = {"train": "training images", "val": "validation images"}


def caption(
    experiments: Sequence[Experiment],
    kind: Literal["cams", "posteriors", "masks"],
    split: str,
    product: str,
    titles: Sequence[str],
    shown: Sequence[tuple[str, str | None]],
    how: str,
) -> str:
    """Write the text that goes beside a figure.

    Args:
        experiments: the experiments, from left to right.
        kind: the kind of figure.
        split: the split of the images.
        product: the product whose scores are given.
        titles: the titles of the columns.
        shown: the image of each row, and its class if the row shows a single one.
        how: how the images were chosen, in words.
    """
    parts = [
        f"{TITLES[product]}, {SPLITS[split]}.",
        f"Columns: {'; '.join(titles)}. {_legend(experiments, kind)}",
        f"Images chosen {how}.",
        "\n".join(["Experiments:", *(f"  {_scored(known, product)}" for known in experiments)]),
        f"Protocol of {experiments[0].label}: {in_words(experiments[0].metrics['protocol'])}",
        *_differences(experiments, product),
        "\n".join(_rows(experiments, product, shown)),
    ]
    return "\n\n".join(parts) + "\n"


def _legend(experiments: Sequence[Experiment], kind: str) -> str:
    if kind == "masks":
        return "White hatching: label 255."
    row = "One row per image and class that it is tagged with; true mask of that class alone, 255 "
    if kind == "posteriors":
        return (
            f"{row}hatched. White line: where the class's posterior passes {PROBABLE:g}. No heat: "
            "the class was not found in the image."
        )
    thresholds = ", ".join(f"{known.threshold:g} ({known.label})" for known in experiments)
    return (
        f"{row}hatched. White line: where the CAM passes the background threshold, "
        f"{thresholds}. A CAM without heat: the class was not found in the image."
    )


def _scored(experiment: Experiment, product: str) -> str:
    """State the label, folder, seed and score of an experiment."""
    metrics = experiment.metrics
    start = f"{experiment.label}: {experiment.folder}, seed {metrics['seed']}"
    row = metrics["products"].get(product)
    if row is None:
        return f"{start}, not scored"
    known = Runs(experiment.label, (metrics,))
    return f"{start}, mIoU of all {row['images']} images in %: {known.cell(product)}"


def _differences(experiments: Sequence[Experiment], product: str) -> list[str]:
    """Describe how the protocols differ, and say whether the numbers are comparable."""
    if len(experiments) == 1 or any(
        product not in known.metrics["products"] for known in experiments
    ):
        return []
    _, found = compare([Runs(known.label, (known.metrics,)) for known in experiments])
    wanted = next(known for known in PRODUCTS if known.name == product)
    moving = [difference for difference in found if wanted in difference.touches]
    verdict = (
        "The numbers of these experiments are comparable."
        if not moving
        else (
            "The numbers of these experiments are NOT comparable: "
            + "; ".join(f"{known.key} ({known.reason})" for known in moving)
            + "."
        )
    )
    lines = [
        f"  {known.key}: {' | '.join(str(value) for value in known.values)} ({known.reason})"
        for known in found
    ]
    if not lines:
        return [f"{verdict} Their protocols are the same."]
    return ["\n".join([f"{verdict} Their protocols differ in:", *lines])]


def _rows(
    experiments: Sequence[Experiment], product: str, shown: Iterable[tuple[str, str | None]]
) -> list[str]:
    """List the IoU in percent of each row, where it is known."""
    labels = " | ".join(known.label for known in experiments)
    lines = [f"Rows, with their IoU in % ({labels}):"]
    for image, name in shown:
        column = f"iou_{name}" if name else "iou"
        values = [known.scores(product, column).get(image) for known in experiments]
        cells = " | ".join("–" if value is None else f"{value:.1f}" for value in values)
        lines.append(f"  {image}{f' ({name})' if name else ''}: {cells}")
    return lines
