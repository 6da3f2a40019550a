"""The tables of stage `evaluate`, from counts; percentages with four decimals, None for nan."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from rca.evaluation import confusion
from rca.evaluation.bootstrap import interval, resampled_ious
from rca.evaluation.boundary import boundary_iou
from rca.evaluation.confusion import Policy, mean_present
from rca.evaluation.evaluators import verdicts
from rca.evaluation.pixel_counts import Counts
from rca.evaluation.products import Product, improved_on

CLASS_MEASURES = (
    "iou", "iou_low", "iou_high", "precision", "recall",
    "over_activation", "under_activation", "boundary_iou",
)  # fmt: skip
PER_CLASS = ("product", "class", *CLASS_MEASURES)
CONFUSION = ("product", "true", "predicted", "share")
PER_IMAGE = ("product", "image", "iou")  # and one for each class, `iou_<class>`


@dataclass(frozen=True)
class Scores:
    """The measures of one product.

    Attributes:
        counts: The counts of its images.
        policy: The treatment of a predicted 255.
        resamples: The number of resamples of the bootstrap.
        seed: The seed of the bootstrap's draws.
    """

    counts: Counts
    policy: Policy
    resamples: int
    seed: int

    @cached_property
    def resampled(self) -> np.ndarray:
        """Each class's IoU and, last, their mean, on every resample, (R, C + 2)."""
        return resampled_ious(self.counts.errors(), self.resamples, self.seed)

    @cached_property
    def by_class(self) -> dict[str, np.ndarray]:
        """Each of `CLASS_MEASURES`, (C + 1,), from 0 to 1."""
        matrix = self.counts.matrix
        low, high = np.transpose([interval(values) for values in self.resampled.T[:-1]])
        return {
            "iou": confusion.iou(matrix, self.policy),
            "iou_low": low,
            "iou_high": high,
            "precision": confusion.precision(matrix, self.policy),
            "recall": confusion.recall(matrix, self.policy),
            "over_activation": confusion.over_activation(matrix, self.policy),
            "under_activation": confusion.under_activation(matrix, self.policy),
            "boundary_iou": boundary_iou(self.counts.boundary),
        }

    def row(self, names: Sequence[str]) -> dict[str, Any]:
        """Build what `metrics.json` holds of the product, except its split and number of images."""
        matrix, classes = self.counts.matrix, self.by_class
        return {
            "miou": percent(mean_present(classes["iou"])),
            "miou_interval": percents(interval(self.resampled[:, -1])),
            "coverage": percent(confusion.coverage(matrix)),
            **{
                f"mean_{measure}": percent(mean_present(classes[measure]))
                for measure in ("precision", "recall", "boundary_iou")
            },
            # The literature computes these without the background.
            **{
                f"mean_{measure}": percent(mean_present(classes[measure][1:]))
                for measure in ("over_activation", "under_activation")
            },
            "false_positive_ratio": self._foreground_ratio(confusion.false_positive_ratio),
            "false_negative_ratio": self._foreground_ratio(confusion.false_negative_ratio),
            **{measure: by_name(names, classes[measure]) for measure in CLASS_MEASURES},
            "evaluators": verdicts(matrix),
        }

    def _foreground_ratio(
        self, measure: Callable[[np.ndarray, Policy], np.ndarray]
    ) -> float | None:
        mean = mean_present(measure(self.counts.matrix, self.policy)[1:])
        return None if math.isnan(mean) else round(mean, 4)


def metrics(results: Mapping[Product, Scores], names: Sequence[str]) -> dict[str, Any]:
    """Build `miou` and `products` of `metrics.json`; `names` are the classes and background."""
    known = {product.name: scores for product, scores in results.items()}
    products = {
        product.name: {
            "split": product.split,
            "images": len(scores.counts.images),
            **scores.row(names),
            "gain_interval": _gain_interval(scores, known.get(improved_on(product, known) or "")),
        }
        for product, scores in results.items()
    }
    miou = {name: row["miou"] for name, row in products.items()}
    bound = miou.get("fully_supervised_val")
    if bound:
        miou["ratio_to_fully_supervised"] = round(miou["network_val"] / bound, 4)
    return {"miou": miou, "products": products}


def _gain_interval(scores: Scores, before: Scores | None) -> list[float | None] | None:
    """Compute the interval of the gain over another product, both on the same resampled images."""
    if before is None:
        return None
    return percents(interval(scores.resampled[:, -1] - before.resampled[:, -1]))


def per_class(
    results: Mapping[Product, Scores], names: Sequence[str]
) -> list[tuple[str | float | None, ...]]:
    """Build the rows of `PER_CLASS`."""
    return [
        (product.name, name, *(percent(scores.by_class[key][label]) for key in CLASS_MEASURES))
        for product, scores in results.items()
        for label, name in enumerate(names)
    ]


def confusions(
    results: Mapping[Product, Scores], names: Sequence[str]
) -> Iterator[tuple[str | float | None, ...]]:
    """Yield rows of `CONFUSION`: where the pixels of each true class went, in percent of them."""
    for product, scores in results.items():
        matrix = scores.counts.matrix
        totals = np.broadcast_to(matrix.sum(axis=1)[:, None], matrix.shape)
        shares = confusion.ratio(matrix, totals)
        for true, row in zip(names, shares, strict=True):
            for predicted, share in zip([*names, "255"], row, strict=True):
                yield product.name, true, predicted, percent(share)


def per_image(results: Mapping[Product, Scores]) -> Iterator[tuple[str | float | None, ...]]:
    """Yield rows of `PER_IMAGE`: the mean over the classes in the image, then each class's."""
    for product, scores in results.items():
        for image, ious in scores.counts.image_ious().items():
            yield product.name, image, percent(mean_present(ious)), *percents(ious)


def by_name(names: Sequence[str], values: np.ndarray) -> dict[str, float | None]:
    """Map each class to its percentage."""
    return dict(zip(names, map(percent, values), strict=True))


def percents(shares: Iterable[float]) -> list[float | None]:
    """Convert several shares to percentages."""
    return [percent(share) for share in shares]


def percent(share: float) -> float | None:
    """Convert a share from 0 to 1 to a percentage with four decimals; None for nan."""
    return None if math.isnan(share) else round(100 * float(share), 4)
