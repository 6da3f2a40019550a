"""The figure of benchmarks.method_study: the gain of each part, with every seed and the spread."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import matplotlib
from matplotlib.figure import Figure

from benchmarks.method_record import paired_gains
from benchmarks.method_variants import EVERYTHING

# Reading and measure → label, colour (Okabe and Ito's, told apart by the colour-blind), offset.
SERIES = {
    "cams.crf": ("CAM head, after CRF", "#d55e00", 0.2),
    "prototypes.crf": ("prototypes, after CRF", "#0072b2", 0.0),
    "prototypes.network": ("network on validation images", "#009e73", -0.2),
}


def figure(content: dict[str, Any], names: Sequence[str]) -> str:
    """Draw the gains over the plain classifier as an SVG file's text.

    Args:
        content: The record of the study.
        names: The variants, from top to bottom; those without a gain are left out.
    """
    rows = [name for name in names if "prototypes.crf_gain" in content["summary"].get(name, {})]
    drawing = Figure(figsize=(7.6, 0.9 + 0.55 * len(rows)), layout="constrained")
    axes = drawing.subplots()
    for key, (label, colour, offset) in SERIES.items():
        for row, name in enumerate(rows):
            height = len(rows) - 1 - row + offset
            gains = seed_gains(content["runs"], name, key)
            axes.plot(gains, [height] * len(gains), "|", color=colour, markersize=9, alpha=0.6)
            if spread := content["summary"][name].get(f"{key}_gain"):
                line = spread["std"] or 0
                axes.errorbar(spread["mean"], height, xerr=line, fmt="o", color=colour)
        axes.plot([], [], "o", color=colour, label=label)
    axes.axvline(0, color="#59636e", linewidth=1)
    axes.set_yticks(range(len(rows)), [EVERYTHING[name].title for name in reversed(rows)])
    axes.set_ylim(-0.6, len(rows) - 0.4)
    axes.set_xlabel("gain over the plain classifier of the same seed, points of mIoU")
    axes.grid(axis="x", color="#d0d7de", linewidth=0.6)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(axis="y", length=0)
    drawing.legend(loc="outside upper center", ncols=3, frameon=False, fontsize=9)
    return _svg(drawing)


def seed_gains(runs: Sequence[dict[str, Any]], name: str, key: str) -> list[float]:
    """List the gains of a variant over its reference, one for each seed that both have.

    Args:
        runs: The runs of the record.
        name: The variant.
        key: The reading and the measure, with a full stop between.
    """
    reading, _, measure = key.partition(".")
    own, reference = (
        [run for run in runs if run["variant"] == variant]
        for variant in (name, EVERYTHING[name].reference)
    )
    return paired_gains(own, reference, reading, measure)


def _svg(drawing: Figure) -> str:
    """Render a figure to SVG, with the same bytes each time."""
    out = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": "rca", "svg.fonttype": "path"}):
        drawing.savefig(out, format="svg", metadata={"Date": None, "Creator": None})
    return "\n".join(line.rstrip() for line in out.getvalue().splitlines()) + "\n"
