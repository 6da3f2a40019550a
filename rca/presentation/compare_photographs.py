"""The photographs of `rca compare --page`, with the masks of all results beside each other."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from rca.config import ROUNDS
from rca.data.images import DataError, read_image
from rca.data.index import Record
from rca.presentation.compare_results import LABEL_MAPS, label_maps, shared_records
from rca.presentation.experiments import Experiment
from rca.presentation.gallery import Gallery, Layer
from rca.presentation.marks import MARK_PALETTE, difference, legend
from rca.presentation.overlays import draw_labels
from rca.presentation.photograph_entries import Shown
from rca.presentation.photograph_facts import Table, facts
from rca.presentation.score_rows import TITLES
from rca.presentation.stage_layers import label_layer, truth_layer
from rca.runtime.progress import progress

# The product shown of a split: the last of these that all results have.
FINALS = {
    "val": ("network_val", *(f"{name}_val" for name in ROUNDS)),
    "train": ("crf_train", *(f"{name}_train" for name in ROUNDS)),
}


@dataclass(frozen=True)
class Beside:
    """One split as the page shows it.

    Attributes:
        shown: its photographs.
        title: the title of the product whose masks are shown.
        images: the number of images in all results, and the number in any of them.
        facts: what the script sorts and filters by.
    """

    shown: Shown
    title: str
    images: tuple[int, int]
    facts: dict[str, Any]


def beside(experiments: Sequence[Experiment], split: str, count: int) -> Beside | str:
    """Select the photographs of a split that changed most from the first result to the last.

    Change is measured by the IoU, up or down; without true masks, by the share of pixels that
    differ.

    Args:
        experiments: the results, which have the same classes.
        split: `train` or `val`.
        count: the maximum number of photographs.

    Returns:
        The photographs, or the reason why there are none, in words.
    """
    product = _final(experiments, split)
    records = shared_records(experiments, split)
    if not records:
        return "no image is in all results"
    if not product:
        return "not all results have masks of them"
    gallery = _gallery(experiments, records, product)
    keys = [layer.stage for layer in gallery.layers]
    first, last = keys[0], keys[len(experiments) - 1]
    gains = _gains(gallery.scores[first], gallery.scores[last])
    shares: dict[str, float] = {}
    if not gains:
        shares = _shares(gallery, gallery.tags)
    chosen = sorted(
        gallery.tags,
        key=lambda image: (-abs(gains.get(image, 0)), -shares.get(image, 0), image),
    )[:count]
    shares |= _shares(gallery, [image for image in chosen if image not in shares])
    shown = Shown(
        split,
        gallery,
        chosen,
        final=last,
        scored=bool(gains),
        sorted_by={image: {"differ": round(shares[image], 2)} for image in chosen},
        notes={image: f"{shares[image]:.1f} % of the pixels differ" for image in chosen},
    )
    found = facts(gallery, last, chosen, _table(experiments, product), experiments[0].data.classes)
    names = (experiments[0].label, experiments[-1].label)
    marks = legend(*names, truth=any(record.mask for record in records))
    every = {one.image for known in experiments for one in known.data.split(split)}
    return Beside(shown, TITLES[product], (len(records), len(every)), {**found, "marks": marks})


def _final(experiments: Sequence[Experiment], split: str) -> str | None:
    """Find the last product of a split that all results have masks of, and scores if any has."""
    found = None
    for product in FINALS[split]:
        scored = {product in known.metrics["products"] for known in experiments}
        begins = product == FINALS[split][0]  # a later one's folder may be from an earlier run
        if label_maps(experiments, product) and (
            scored == {True} or (scored == {False} and begins)
        ):
            found = product
    return found


def _gallery(experiments: Sequence[Experiment], records: Sequence[Record], product: str) -> Gallery:
    """Show each result's mask, the difference of first and last, and the truth."""
    verb = LABEL_MAPS[product][1]
    files = {record.image: record.file for record in records}
    keys = [f"result-{number}" for number in range(1, len(experiments) + 1)]
    masks = [
        replace(label_layer(known.data, folder, known.label, key, verb), key=key)
        for known, folder, key in zip(
            experiments, label_maps(experiments, product), keys, strict=True
        )
    ]
    truth = truth_layer(experiments[0].data)
    any_truth = any(record.mask for record in records)
    return Gallery(
        tags={record.image: record.tags for record in records},
        photo=lambda image: read_image(files[image]),
        layers=[
            *masks,
            _difference_layer(masks[0], masks[-1], truth),
            *([truth] if any_truth else []),
        ],
        scores={key: known.scores(product) for key, known in zip(keys, experiments, strict=True)},
    )


def _difference_layer(first: Layer, last: Layer, truth: Layer) -> Layer:
    def read(image: str) -> np.ndarray | None:
        before, after = first.read(image), last.read(image)
        if before is None or after is None:
            return None
        if before.shape != after.shape:
            raise DataError(f"{image}: its masks in {first.title} and {last.title} differ in size")
        return difference(before, after, truth.read(image))

    draw = partial(draw_labels, palette=MARK_PALETTE)
    return Layer("Difference", None, read, draw, kind="marks", key="difference")


def _shares(gallery: Gallery, images: Iterable[str]) -> dict[str, float]:
    """Compute image → share of the pixels in which first and last result differ, in percent."""
    masks = [layer for layer in gallery.layers if layer.kind == "labels" and layer.product]
    first, last = masks[0], masks[-1]
    wanted = list(images)
    return {
        image: 100 * float(np.mean(first.read(image) != last.read(image)))
        for image in progress(wanted, len(wanted), "pairs of masks compared")
    }


def _gains(before: Mapping[str, float], after: Mapping[str, float]) -> dict[str, float]:
    return {image: after[image] - before[image] for image in after if image in before}


def _table(experiments: Sequence[Experiment], product: str) -> Table:
    """Collect the product's rows of each result, with the result's key as the product."""
    return [
        {**row, "product": f"result-{number}"}
        for number, known in enumerate(experiments, start=1)
        for row in known.table
        if row["product"] == product
    ]
