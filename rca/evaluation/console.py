"""The score of every stage as text, for a terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rca.evaluation.summary import stage_rows

HEAD = ("", "split", "images", "mIoU in %", "gain")


def text_table(metrics: Mapping[str, Any]) -> str:
    """`metrics.json` as an aligned table, one line a product."""
    if not metrics["products"]:
        return "Nothing is scored: the data set has no true masks."
    rows = [HEAD]
    for row in stage_rows(metrics):
        miou, gain = row["miou"], row["gain"]
        rows.append(
            (
                row["title"],
                row["split"],
                str(row["images"]),
                "none" if miou is None else f"{miou:.2f}",
                "" if gain is None else f"{gain:+.2f}",
            )
        )
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEAD))]
    lines = [
        f"{row[0]:<{widths[0]}}  {row[1]:<{widths[1]}}"
        + "".join(f"  {cell:>{width}}" for cell, width in zip(row[2:], widths[2:], strict=True))
        for row in rows
    ]
    ratio = metrics["miou"].get("ratio_to_fully_supervised")
    if ratio is not None:
        lines.append(f"The network from tags reaches {ratio:.0%} of the one from true masks.")
    return "\n".join(line.rstrip() for line in lines)
