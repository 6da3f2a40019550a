"""What a page's script sorts and filters photographs by."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from rca.data.images import DataError
from rca.evaluation.confusion import confusion_matrix
from rca.presentation.gallery import Gallery

FINAL = {"val": ("Prediction", "network_val"), "train": ("After CRF", "crf_train")}
LABELS = 254  # all that a map can hold besides 0 and 255
NOTABLE = 0.001  # share of an image's annotated pixels from which on a confusion is listed

Table = Sequence[Mapping[str, str]]


def confused(
    truth: np.ndarray | None, final: np.ndarray | None, name: str
) -> list[tuple[int, int, float]]:
    """Find each notable confusion: (true label, predicted label, share of the annotated pixels).

    Args:
        truth: the true labels, uint8 (H, W), or None if there are none; then the list is empty.
        final: the predicted labels, likewise.
        name: the name of `final`, for messages.

    Raises:
        DataError: the two have different sizes.
    """
    if truth is None or final is None:
        return []
    try:
        counts = confusion_matrix(truth, final, LABELS)
    except ValueError as error:
        raise DataError(f"{name} cannot be compared with its truth: {error}") from None
    total = counts.sum()
    np.fill_diagonal(counts, 0)
    return [
        (int(true), int(predicted), round(float(counts[true, predicted] / total), 4))
        for true, predicted in zip(*np.nonzero(counts >= max(NOTABLE * total, 1)), strict=True)
    ]


def facts(
    gallery: Gallery, final: str, shown: Sequence[str], table: Table, classes: Sequence[str]
) -> dict[str, Any]:
    """Collect what the script sorts and filters by, except what it finds in the page itself.

    These are products with their titles, and image → product → IoU in percent: the mean under an
    empty key, and that of each class in the image under its label.

    Args:
        gallery: the images of the split.
        final: key of the layer whose errors are shown.
        shown: the images on the page.
        table: the rows of `per_image.csv` for the products of the split.
        classes: C class names.
    """
    images = set(shown)
    scores: dict[str, dict[str, dict[str, float]]] = {}
    for row in table:
        if row["image"] in images and row.get("iou"):
            own = {"": round(float(row["iou"]), 2)}
            own |= dict(_class_scores(row, classes))
            scores.setdefault(row["image"], {})[row["product"]] = own
    products = {product for of_image in scores.values() for product in of_image}
    stages = [
        {
            "title": layer.title,
            "stage": layer.stage,
            "product": layer.product,
            "threshold": layer.threshold,
        }
        for layer in gallery.layers
    ]
    return {
        "stages": stages,
        "products": [
            (stage["product"], stage["title"]) for stage in stages if stage["product"] in products
        ],
        "final": final,
        "scores": scores,
    }


def _class_scores(row: Mapping[str, str], classes: Sequence[str]) -> Iterator[tuple[str, float]]:
    for label, name in enumerate(classes, start=1):
        if value := row.get(f"iou_{name}"):
            yield str(label), round(float(value), 2)
