"""The photographs of the report: which are on the page, and what is embedded of each."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from rca.data.images import DataError
from rca.drawing.embedded import Embedded, embed_labels, embed_photograph, embed_scores
from rca.drawing.gallery import PHOTOGRAPH, Gallery
from rca.drawing.overlays import fit
from rca.evaluation import summary
from rca.evaluation.confusion import confusion_matrix
from rca.evaluation.ranking import best_and_worst, evenly, extremes
from rca.stages.pictures import TRUTH

log = logging.getLogger(__name__)

FINAL = {"val": ("Prediction", "network_val"), "train": ("After CRF", "crf_train")}
SIDES = (500, 400, 320, 288, 256)  # pixels, of a photograph's longer side: the first that fits
BUDGET = 28e6  # bytes of all pictures together
SAMPLED = 24  # photographs by which the bytes are foretold
LABELS = 254  # all that a map can hold beside 0 and 255
NOTABLE = 0.001  # share of an image's annotated pixels from which a confusion is told

Table = Sequence[Mapping[str, str]]


@dataclass(frozen=True)
class Shown:
    """The photographs of one split that are on the page.

    Attributes:
        split: its name.
        gallery: all of its images.
        images: those on the page, the best first; those without a score are last.
        classes: class → its best, worst and most changed images, as `class_rows` has them.
    """

    split: str
    gallery: Gallery
    images: Sequence[str]
    classes: Mapping[str, Sequence[Mapping[str, Any]]]


def choose(
    gallery: Gallery, split: str, count: int, classes: Mapping[str, Sequence[Mapping[str, Any]]]
) -> Shown:
    """At most `count` images, half best and half worst, and with them all that `classes` names."""
    scores = gallery.scores.get(FINAL[split][1], {})
    scored = [image for image in gallery.tags if image in scores]
    best, worst = best_and_worst({image: scores[image] for image in scored}, count)
    named = {row["image"] for rows in classes.values() for row in rows}
    kept = {*best, *worst, *named}
    rest = [image for image in gallery.tags if image not in scores]
    kept |= {*evenly(rest, max(count - len(best) - len(worst), 0))}
    order = sorted(kept, key=lambda image: (-scores.get(image, -1), image))
    return Shown(split, gallery, order, classes)


def class_rows(
    gallery: Gallery, split: str, classes: Iterable[str], table: Table, count: int
) -> dict[str, list[dict[str, Any]]]:
    """Class → its best, worst and most changed images, by the IoU of that class alone.

    Args:
        gallery: the images of the split.
        split: its name.
        classes: C class names.
        table: the rows of `per_image.csv`.
        count: images of each role.
    """
    found = {}
    for name in classes:
        holding = {image for image, tags in gallery.tags.items() if name in tags}
        scores = summary.image_scores(table, f"iou_{name}")
        before, after = (
            {image: iou for image, iou in scores.get(product, {}).items() if image in holding}
            for product in (f"cam_seeds_{split}", FINAL[split][1])
        )
        rows = [
            {
                "image": image,
                "roles": ", ".join(roles),
                "iou": after[image],
                "change": after[image] - before[image] if image in before else None,
            }
            for image, roles in extremes(before, after, count).items()
        ]
        if rows:
            found[name] = rows
    return found


def picture_side(groups: Iterable[Shown], palette: np.ndarray) -> int:
    """The longest side of `SIDES` with which all pictures together stay within `BUDGET`.

    Foretold from a few photographs at equal distances. Says so where not even the shortest fits.
    """
    total = 0.0
    for side in SIDES:
        total = 0.0
        for shown in groups:
            some = evenly(shown.images, SAMPLED)
            size = sum(
                len(picture["uri"])
                for image in some
                for picture in entry(shown, image, side, palette)["pictures"]
            )
            total += size * len(shown.images) / max(len(some), 1)
        if total <= BUDGET:
            return side
    log.warning(
        "the page will have about %d MB; report.panels and report.training_panels limit it",
        total / 1e6,
    )
    return SIDES[-1]


def entry(shown: Shown, image: str, side: int, palette: np.ndarray) -> dict[str, Any]:
    """What the page holds of an image: name, tags, pictures and, for the script, its facts.

    Args:
        shown: the split.
        image: its name.
        side: pixels of the photograph's longer side.
        palette: uint8 (256, 3), label → colour on a screen.
    """
    gallery = shown.gallery
    whole = gallery.photo(image)
    side = min(side, max(whole.size))  # nothing is gained by enlarging
    photo = fit(whole, side, side)
    pictures = [_picture(PHOTOGRAPH, "photograph", None, photo.size, embed_photograph(photo))]
    labels: dict[str, np.ndarray] = {}
    for layer in gallery.layers:
        values = layer.read(image)
        if values is None:
            continue
        iou = gallery.scores.get(layer.product or "", {}).get(image)
        if layer.threshold is None:
            labels[layer.title] = values
            made = embed_labels(values, photo.size, palette)
            pictures.append(_picture(layer.title, "labels", iou, photo.size, made))
        else:
            made = embed_scores(values, photo.size)
            pictures.append(_picture(layer.title, "scores", iou, photo.size, made))
    return {
        "image": image,
        "tags": gallery.tags[image],
        "pictures": pictures,
        "confused": _confused(labels, FINAL[shown.split][0], image),
    }


def _picture(
    title: str, kind: str, iou: float | None, size: tuple[int, int], made: Embedded
) -> dict[str, Any]:
    return {
        "title": title,
        "stage": stage_key(title),
        "kind": kind,
        "iou": iou,
        "width": size[0],
        "height": size[1],
        "uri": made.uri,
    }


def stage_key(title: str) -> str:
    """The title as a word for attributes, `trained-on-truth`."""
    return re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")


def _confused(
    labels: Mapping[str, np.ndarray], final: str, image: str
) -> list[tuple[int, int, float]]:
    """(true label, predicted label, share of the annotated pixels) of each notable confusion."""
    if final not in labels or TRUTH not in labels:
        return []
    try:
        counts = confusion_matrix(labels[TRUTH], labels[final], LABELS)
    except ValueError as error:
        raise DataError(f"{final} of {image} cannot be held against its truth: {error}") from None
    total = counts.sum()
    np.fill_diagonal(counts, 0)
    return [
        (int(true), int(predicted), round(float(counts[true, predicted] / total), 4))
        for true, predicted in zip(*np.nonzero(counts >= max(NOTABLE * total, 1)), strict=True)
    ]


def facts(shown: Shown, table: Table, classes: Sequence[str]) -> dict[str, Any]:
    """What the script sorts and filters by, but for what it finds in the page itself.

    Products with their titles, and image → product → IoU: the mean, then that of each class in it
    by label, in percent.
    """
    images = set(shown.images)
    scores: dict[str, dict[str, dict[str, float]]] = {}
    for row in table:
        if row["image"] in images and row["product"].endswith(f"_{shown.split}") and row["iou"]:
            own = {"": round(float(row["iou"]), 2)}
            own |= dict(_class_scores(row, classes))
            scores.setdefault(row["image"], {})[row["product"]] = own
    products = {product for of_image in scores.values() for product in of_image}
    stages = [
        {
            "title": layer.title,
            "stage": stage_key(layer.title),
            "product": layer.product,
            "threshold": layer.threshold,
        }
        for layer in shown.gallery.layers
    ]
    return {
        "stages": stages,
        "products": [
            (stage["product"], stage["title"]) for stage in stages if stage["product"] in products
        ],
        "final": stage_key(FINAL[shown.split][0]),
        "scores": scores,
    }


def _class_scores(row: Mapping[str, str], classes: Sequence[str]) -> Iterator[tuple[str, float]]:
    for label, name in enumerate(classes, start=1):
        if value := row[f"iou_{name}"]:
            yield str(label), round(float(value), 2)
