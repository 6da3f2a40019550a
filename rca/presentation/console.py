"""The scores of a run, or of several, as text for a terminal."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from rca.evaluation.comparison import Difference, verdict
from rca.evaluation.confusion import coverage
from rca.evaluation.evaluators import EVALUATORS, verdicts
from rca.evaluation.products import Product
from rca.evaluation.runs import Runs
from rca.presentation.score_rows import stage_rows
from rca.runtime.text_table import aligned

HEAD = ("", "split", "images", "mIoU in %", "95 % interval", "gain")


def text_table(metrics: Mapping[str, Any]) -> str:
    """Format `metrics.json` as an aligned table, one line per product."""
    if not metrics["products"]:
        return "Nothing is scored: the data set has no true masks."
    rows = [HEAD]
    for row in stage_rows(metrics):
        miou, gain = row["miou"], row["gain"]
        interval = row.get("miou_interval")  # older runs have none
        rows.append(
            (
                row["title"],
                row["split"],
                str(row["images"]),
                "none" if miou is None else f"{miou:.2f}",
                "" if miou is None or not interval else "{:.2f} to {:.2f}".format(*interval),
                "" if gain is None else f"{gain:+.2f}",
            )
        )
    lines = [aligned(rows, left=2)]
    ratio = metrics["miou"].get("ratio_to_fully_supervised")
    if ratio is not None:
        lines.append(f"The network from tags reaches {ratio:.0%} of the one from true masks.")
    return "\n".join(lines)


def evaluators_text(matrix: np.ndarray, images: int) -> str:
    """Format what each evaluator says of a confusion matrix, int64 (C + 1, C + 2)."""
    rows = [("evaluator", "predicted 255 is", "mean over", "mIoU in %")]
    found = verdicts(matrix)
    for evaluator in EVALUATORS:
        verdict = found[evaluator.name]
        miou = verdict["why"] if verdict["miou"] is None else f"{verdict['miou']:.2f}"
        rows.append((evaluator.name, evaluator.uncertain, evaluator.mean, miou))
    share = 100 * coverage(matrix)
    return f"{aligned(rows, left=4)}\n{images} images, {share:.2f} % not predicted 255"


def comparison_text(
    runs: Sequence[Runs], shared: Sequence[Product], differences: Sequence[Difference]
) -> str:
    """Format results side by side, every difference in protocol, and the verdict."""
    spoilt = {product.name for difference in differences for product in difference.touches}
    rows = [("", "split", *(run.name for run in runs), "comparable")]
    rows += [
        (
            product.title,
            product.split,
            *(run.cell(product.name) for run in runs),
            "NO" if product.name in spoilt else "yes",
        )
        for product in shared
    ]
    lines = [aligned(rows, left=len(rows[0]))]
    if differences:
        lines += ["", "Differences in protocol:"]
    for difference in differences:
        values = " | ".join(json.dumps(value, ensure_ascii=False) for value in difference.values)
        titles = ", ".join(f"{product.title} ({product.split})" for product in difference.touches)
        lines += [
            f"  {difference.key}: {values}",
            f"      {f'MATTERS to {titles}' if titles else 'noted'}: {difference.reason}",
        ]
    lines += ["", verdict(shared, differences, "above")]
    return "\n".join(lines)
