"""The tables of `rca compare --page`."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from statistics import mean, stdev
from typing import Any

from rca.evaluation.comparison import Difference
from rca.evaluation.paired import Gains
from rca.evaluation.products import NETWORKS, PRODUCTS, Product
from rca.evaluation.runs import Runs

# Key of `metrics.json` → title of the measure, and its decimals.
MEASURES = {
    "mean_precision": ("Precision", 1),
    "mean_recall": ("Recall", 1),
    "mean_boundary_iou": ("Boundary IoU", 1),
    "mean_over_activation": ("Over-activation", 1),
    "mean_under_activation": ("Under-activation", 1),
    "false_positive_ratio": ("FP / TP", 2),
    "false_negative_ratio": ("FN / TP", 2),
    "coverage": ("Coverage", 1),
}


def every_product(runs: Sequence[Runs]) -> list[Product]:
    """List the products that are scored in any of the runs."""
    scored = {name for run in runs for name in run.metrics[0]["products"]}
    return [product for product in PRODUCTS if product.name in scored]


def main_product(shared: Sequence[Product]) -> Product | None:
    """Choose the product at the head of the page: the last network from tags, else the last."""
    networks = {name for trained_on, name in NETWORKS.items() if trained_on != "truth"}
    for wanted in (networks, {product.name for product in shared}):
        if of_these := [product for product in shared if product.name in wanted]:
            return of_these[-1]
    return None


def score_table(
    runs: Sequence[Runs],
    shared: Sequence[Product],
    found: Sequence[Difference],
    gains: Mapping[str, Sequence[Gains]],
) -> list[dict[str, Any]]:
    """Return one row per product: its mIoU in each result, and the gain of each over the first."""
    spoilt = {product.name for difference in found for product in difference.touches}
    rows = []
    for product in every_product(runs):
        cells = [_cell(run, product.name) for run in runs]
        intervals = [gain.mean for gain in gains.get(product.name, ())]
        values = [cell["miou"] for cell in cells]
        rows.append(
            {
                "name": product.name,
                "title": product.title,
                "split": product.split,
                "cells": cells,
                "gains": _gains(values, intervals),
                "comparable": product.name not in spoilt if product in shared else None,
            }
        )
    return rows


def measure_table(runs: Sequence[Runs]) -> list[dict[str, Any]]:
    """Return one row per product and measure: its value in each result, and the differences."""
    rows = []
    for product in every_product(runs):
        for key, (title, decimals) in MEASURES.items():
            values = [_mean(row.get(key) for row in _rows(run, product.name)) for run in runs]
            if any(value is not None for value in values):
                rows.append(
                    {
                        "title": product.title,
                        "split": product.split,
                        "measure": title,
                        "values": values,
                        "decimals": decimals,
                        "gains": _gains(values, ()),
                    }
                )
    return rows


def class_tables(
    runs: Sequence[Runs], gains: Mapping[str, Sequence[Gains]], names: Sequence[str]
) -> dict[str, list[dict[str, Any]]]:
    """Return product → one row per class: its IoU in each result, the differences from the first.

    Args:
        runs: the results.
        gains: product → paired gains, from `paired_gains`.
        names: the names of all classes, including the background.
    """
    tables = {}
    for product in every_product(runs):
        rows = []
        for name in names:
            values = [
                _mean(row.get("iou", {}).get(name) for row in _rows(run, product.name))
                for run in runs
            ]
            intervals = [gain.classes[name] for gain in gains.get(product.name, ())]
            rows.append({"name": name, "values": values, "gains": _gains(values, intervals)})
        tables[product.name] = rows
    return tables


def difference_table(
    shared: Sequence[Product], found: Sequence[Difference]
) -> list[dict[str, Any]]:
    """Return one row per difference in protocol; those that affect a number come first."""
    rows = [
        {
            "key": one.key,
            "values": [
                value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
                for value in one.values
            ],
            "touches": _touched(one.touches, shared),
            "reason": one.reason,
        }
        for one in found
    ]
    return sorted(rows, key=lambda row: not row["touches"])


def _touched(touches: Sequence[Product], shared: Sequence[Product]) -> str:
    """Name the products that a difference affects, in as few words as possible."""
    if len(touches) == len(shared):
        return "every score" if touches else ""
    parts = []
    for split in dict.fromkeys(product.split for product in touches):
        of_split = [product for product in touches if product.split == split]
        every = len(of_split) == sum(product.split == split for product in shared)
        titles = "every score" if every else ", ".join(product.title for product in of_split)
        parts.append(f"{titles} ({split})")
    return "; ".join(parts)


def class_names(runs: Sequence[Runs]) -> list[str]:
    """List the classes of all results, each once, in the order of the first that has it."""
    named = (
        name for run in runs for name in run.metrics[0]["protocol"].get("classes", ["background"])
    )
    return list(dict.fromkeys(named))


def _rows(run: Runs, product: str) -> list[Mapping[str, Any]]:
    return [metrics["products"].get(product, {}) for metrics in run.metrics]


def _cell(run: Runs, product: str) -> dict[str, Any]:
    """Return the mIoU with its interval over images; of several seeds, with its deviation."""
    values = [metrics["miou"].get(product) for metrics in run.metrics]
    whole = [value for value in values if value is not None]
    interval = _rows(run, product)[0].get("miou_interval") if len(values) == 1 else None
    several = len(values) > 1 and len(whole) == len(values)
    return {
        "miou": _mean(values),
        "interval": None if not interval or None in interval else interval,
        "deviation": stdev(whole) if several else None,
        "seeds": len(values),
    }


def _mean(values: Iterable[float | None]) -> float | None:
    known = list(values)
    return None if None in known else mean(value for value in known if value is not None)


def _gains(
    values: Sequence[float | None], intervals: Sequence[tuple[float, float]]
) -> list[dict[str, Any]]:
    """Compute the difference of each further value from the first, with its interval."""
    first, *others = values
    return [
        {
            "value": None if value is None or first is None else value - first,
            "interval": intervals[place] if intervals else None,
        }
        for place, value in enumerate(others)
    ]
