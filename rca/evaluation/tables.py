"""From counts to the tables of stage `evaluate`; percentages with four decimals, None for nan."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from rca.evaluation.confusion import Policy, coverage, iou, mean_iou
from rca.evaluation.protocol import Product

PER_CLASS = ("product", "class", "iou")
PER_IMAGE = ("product", "image", "iou")


@dataclass
class Result:
    """What is kept of one product while its images go by.

    Attributes:
        matrix: int64 (C + 1, C + 2), the confusion matrix over all images.
        images: mean IoU of each image over the classes in its truth or prediction; may be nan.
    """

    matrix: np.ndarray
    images: dict[str, float] = field(default_factory=dict)

    def add(self, image: str, matrix: np.ndarray, policy: Policy) -> None:
        """Count one image."""
        self.matrix += matrix
        self.images[image] = mean_iou(matrix, policy)


def metrics(
    results: Mapping[Product, Result], names: Sequence[str], policy: Policy
) -> dict[str, Any]:
    """`miou` and `products` of `metrics.json`; `names` are the classes with the background."""
    means = {product.name: mean_iou(result.matrix, policy) for product, result in results.items()}
    miou = {name: percent(mean) for name, mean in means.items()}
    if means.get("fully_supervised_val", 0) > 0:
        ratio = means["network_val"] / means["fully_supervised_val"]
        miou["ratio_to_fully_supervised"] = round(ratio, 4)
    products = {
        product.name: {
            "split": product.split,
            "images": len(result.images),
            "miou": miou[product.name],
            "iou": dict(zip(names, map(percent, iou(result.matrix, policy)), strict=True)),
            "coverage": percent(coverage(result.matrix)),
        }
        for product, result in results.items()
    }
    return {"miou": miou, "products": products}


def per_class(
    results: Mapping[Product, Result], names: Sequence[str], policy: Policy
) -> list[tuple[str, str, float | None]]:
    """Rows of `PER_CLASS`."""
    return [
        (product.name, name, percent(value))
        for product, result in results.items()
        for name, value in zip(names, iou(result.matrix, policy), strict=True)
    ]


def per_image(results: Mapping[Product, Result]) -> list[tuple[str, str, float | None]]:
    """Rows of `PER_IMAGE`."""
    return [
        (product.name, image, percent(value))
        for product, result in results.items()
        for image, value in result.images.items()
    ]


def percent(share: float) -> float | None:
    """A share from 0 to 1 as a percentage with four decimals; None for nan."""
    return None if math.isnan(share) else round(100 * float(share), 4)
