"""Which photographs are in the report."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rca.presentation.gallery import Gallery, stage_key
from rca.presentation.photograph_entries import Shown
from rca.presentation.photograph_facts import FINAL, Table
from rca.presentation.ranking import best_and_worst, extremes


def choose(
    gallery: Gallery, split: str, count: int, classes: Mapping[str, Sequence[Mapping[str, Any]]]
) -> Shown:
    """Select at most `count` images, half best and half worst, and all that `classes` names.

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
    return Shown(
        split,
        gallery,
        order,
        final=stage_key(FINAL[split][0]),
        scored=bool(scores),
        classes=classes,
        sorted_by={image: {"doubt": gallery.doubts[image]} for image in order},
        notes={image: f"doubt {gallery.doubts[image]:.2f}" for image in order},
    )


def class_rows(
    gallery: Gallery, split: str, classes: Iterable[str], table: Table, count: int
) -> dict[str, list[dict[str, Any]]]:
    """Return class → its best, worst and most changed images, by the IoU of that class alone.

    Args:
        gallery: the images of the split.
        split: its name.
        classes: C class names.
        table: the rows of `per_image.csv`.
        count: images of each role.
    """
    products = (f"cam_seeds_{split}", FINAL[split][1])
    scores = _class_scores(gallery, table, classes)
    found = {}
    for name, of_product in scores.items():
        before, after = (of_product.get(product, {}) for product in products)
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


def _class_scores(
    gallery: Gallery, table: Table, classes: Iterable[str]
) -> dict[str, dict[str, dict[str, float]]]:
    """Return class → product → image that holds it → IoU, in one pass over the whole table."""
    columns = {f"iou_{name}": name for name in classes}
    scores: dict[str, dict[str, dict[str, float]]] = {name: {} for name in columns.values()}
    for row in table:
        tags = gallery.tags.get(row["image"], ())
        for column, value in row.items():
            if value and columns.get(column) in tags:
                of_product = scores[columns[column]].setdefault(row["product"], {})
                of_product[row["image"]] = float(value)
    return scores
