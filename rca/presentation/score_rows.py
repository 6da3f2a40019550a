"""The rows of the report's tables, from the files that stage `evaluate` wrote."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rca.evaluation.evaluators import EVALUATORS
from rca.evaluation.products import PRODUCTS, improved_on

TITLES = {product.name: product.title for product in PRODUCTS}


def stage_rows(metrics: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return one row per product: its numbers, and its gain in points over what it improves on."""
    miou = metrics["miou"]
    before = {product.name: improved_on(product, miou) for product in PRODUCTS}
    return [
        {
            "title": product.title,
            "name": product.name,
            **metrics["products"][product.name],
            "tags": product.uses_tags,
            "gain": _difference(miou[product.name], miou.get(before[product.name] or "")),
            "over": TITLES.get(before[product.name] or ""),
        }
        for product in PRODUCTS
        if product.name in metrics["products"]
    ]


def evaluator_rows(metrics: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return one row per evaluator: its description, and product → its verdict."""
    return [
        {
            "name": evaluator.name,
            "where": evaluator.where,
            "uncertain": evaluator.uncertain,
            "mean": evaluator.mean,
            "verdicts": {
                name: product["evaluators"][evaluator.name]
                for name, product in metrics["products"].items()
            },
        }
        for evaluator in EVALUATORS
    ]


def image_scores(
    rows: Iterable[Mapping[str, str]], column: str = "iou"
) -> dict[str, dict[str, float]]:
    """Return product → image → IoU in percent, from `per_image.csv`; blanks are left out.

    Args:
        rows: the rows of the table.
        column: `iou`, the mean over the image's classes, or `iou_<class>`.
    """
    scores: dict[str, dict[str, float]] = {}
    for row in rows:
        if row.get(column):
            scores.setdefault(row["product"], {})[row["image"]] = float(row[column])
    return scores


def confusion_shares(matrix: Sequence[Sequence[int]]) -> list[list[float | None]]:
    """Compute where each true class's pixels went, in percent; None for a class without any."""
    totals = [sum(row) for row in matrix]
    return [
        [100 * count / total if total else None for count in row]
        for row, total in zip(matrix, totals, strict=True)
    ]


def confusions(
    shares: Sequence[Sequence[float | None]], names: Sequence[str], count: int = 3
) -> list[tuple[float, str, str]]:
    """Find the `count` largest (share, true class, predicted class) with different classes."""
    apart = [
        (share, true, predicted)
        for row, true in zip(shares, names, strict=False)
        for predicted, share in zip([*names, "uncertain (255)"], row, strict=True)
        if share and predicted != true
    ]
    return sorted(apart, key=lambda entry: -entry[0])[:count]


def best_threshold(rows: Sequence[Mapping[str, float | None]]) -> tuple[float, float] | None:
    """Return threshold and mIoU of the sweep's best row; None if no row has a value."""
    scored = [
        (miou, threshold)
        for row in rows
        if (miou := row["miou"]) is not None and (threshold := row["threshold"]) is not None
    ]
    if not scored:
        return None
    miou, threshold = max(scored, key=lambda entry: entry[0])
    return threshold, miou


def _difference(value: float | None, before: float | None) -> float | None:
    return None if value is None or before is None else value - before
