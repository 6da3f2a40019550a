"""The photographs of the report: which are on the page, and what is embedded of each."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from rca.presentation import score_rows
from rca.presentation.embedded import Embedded, embed_labels, embed_photograph, embed_scores
from rca.presentation.gallery import PHOTOGRAPH, Gallery
from rca.presentation.overlays import fit
from rca.presentation.photograph_facts import FINAL, Table, confused, stage_key
from rca.presentation.ranking import best_and_worst, evenly, extremes

log = logging.getLogger(__name__)

SIDES = (500, 400, 320, 288, 256)  # pixels, of a photograph's longer side: the first that fits
BUDGET = 28e6  # bytes of all pictures together
SAMPLED = 24  # photographs by which the bytes are foretold


@dataclass(frozen=True)
class Shown:
    """The photographs of one split that are on the page.

    Attributes:
        split: its name.
        gallery: all of its images.
        images: those on the page, the best first; then those without a score, the most doubtful
            first.
        classes: class → its best, worst and most changed images, as `class_rows` has them.
    """

    split: str
    gallery: Gallery
    images: Sequence[str]
    classes: Mapping[str, Sequence[Mapping[str, Any]]]


def choose(
    gallery: Gallery, split: str, count: int, classes: Mapping[str, Sequence[Mapping[str, Any]]]
) -> Shown:
    """At most `count` images, half best and half worst, and with them all that `classes` names.

    Where there are fewer with a score, doubt takes its place for the others.
    """
    scores = gallery.scores.get(FINAL[split][1], {})
    scored = [image for image in gallery.tags if image in scores]
    best, worst = best_and_worst({image: scores[image] for image in scored}, count)
    named = {row["image"] for rows in classes.values() for row in rows}
    kept = {*best, *worst, *named}
    doubts = {image: gallery.doubts[image] for image in gallery.tags if image not in scores}
    doubtful, sure = best_and_worst(doubts, max(count - len(best) - len(worst), 0))
    kept |= {*doubtful, *sure}
    order = sorted(kept, key=lambda image: (-scores.get(image, -1), -doubts.get(image, 0.0), image))
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
        scores = score_rows.image_scores(table, f"iou_{name}")
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
    """What the page holds of an image: name, tags, doubt, pictures and, for the script, its facts.

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
        "doubt": gallery.doubts[image],
        "pictures": pictures,
        "confused": confused(labels, FINAL[shown.split][0], image),
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
