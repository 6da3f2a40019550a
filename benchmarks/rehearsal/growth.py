"""How time, memory and files grow with the number of images, and what another number takes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

MEASURES = ("wall_s", "cpu_s", "peak_mb", "files", "megabytes")
SEEN = 1.5
COMMANDS = ("noop_snakemake", "dvc_status", "doctor")  # measured once all stages are done


def exponent(sizes: Sequence[float], values: Sequence[float]) -> float | None:
    """Fit values = c · sizes^b by least squares of logarithms; return b, or None if there is none.

    Args:
        sizes: Numbers of images, at least two different ones.
        values: The measured values; one that is not positive makes the fit impossible.
    """
    if len(set(sizes)) < 2 or min(values) <= 0:
        return None
    slope, _ = np.polyfit(np.log(sizes), np.log(values), 1)
    return round(float(slope), 3)


def line(sizes: Sequence[float], values: Sequence[float]) -> dict[str, float] | None:
    """Fit values = fixed + each · sizes, both at least 0, by least squares of relative errors."""
    if len(set(sizes)) < 2 or min(values) <= 0:
        return None
    n, v = np.asarray(sizes, float), np.asarray(values, float)
    terms = np.stack([1 / v, n / v], axis=1)  # the relative error is terms · (fixed, each) - 1
    fixed, each = np.linalg.lstsq(terms, np.ones(len(v)), rcond=None)[0]
    if fixed < 0:
        fixed, each = 0.0, float((n / v).sum() / ((n / v) ** 2).sum())
    if each < 0:
        fixed, each = float((1 / v).sum() / ((1 / v) ** 2).sum()), 0.0
    return {"fixed": float(f"{fixed:.4g}"), "each": float(f"{each:.4g}")}


def growth(runs: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, dict[str, Any]]]:
    """Fit each measure over the runs: stage, or command → measure → exponent, line, and `times`.

    `times` is what the largest size took, divided by what the smallest took.

    Args:
        runs: The measured sizes, smallest first, which differ in the number of images alone.
    """
    sizes = [run["images"] + run["images_val"] for run in runs]
    if len(set(sizes)) < 2:
        return {}
    tables = [{**run["stages"], **{name: run["books"][name] for name in COMMANDS}} for run in runs]
    return {
        name: {
            measure: {
                "exponent": exponent(sizes, values),
                "line": line(sizes, values),
                "times": round(values[-1] / values[0], 3) if values[0] else None,
            }
            for measure in MEASURES
            if measure in tables[0][name]
            for values in [[table[name][measure] for table in tables]]
        }
        for name in tables[0]
    }


def at(fit: Mapping[str, Any] | None, images: int) -> float | None:
    """Compute fixed + each · images of a fit.

    Return None if the largest size took less than `SEEN` times what the smallest took: its growth
    cannot be told from noise, and a line through noise says anything at a larger size.
    """
    if not fit or not fit["line"] or fit["times"] < SEEN:
        return None
    return fit["line"]["fixed"] + fit["line"]["each"] * images
