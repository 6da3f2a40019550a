"""What stages wrote of numbers, read back by what shows them."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rca.data.images import DataError


def read_metrics(results: Path) -> dict[str, Any]:
    """`metrics.json` of the experiment in `results`.

    Raises:
        DataError: it is not there, or is no JSON.
    """
    path = results / "evaluate/metrics.json"
    try:
        return json.loads(read_text(path))
    except ValueError as error:
        raise DataError(f"{path}: not valid JSON ({error}); run `rca evaluate` again") from None


def read_image_table(results: Path, classes: Sequence[str]) -> list[dict[str, str]]:
    """`per_image.csv`, which has a column of each class.

    Raises:
        DataError: it is not there, or is of an older version.
    """
    path = results / "evaluate/per_image.csv"
    rows = read_table(path)
    missing = [name for name in classes if rows and f"iou_{name}" not in rows[0]]
    if missing:
        raise DataError(f"{path}: has no column iou_{missing[0]}; run `rca evaluate` again")
    return rows


def read_doubts(results: Path) -> dict[str, float]:
    """Image → doubt of its mask, from 0 to 1, from `doubt.csv`.

    Raises:
        DataError: it is not there.
    """
    return {row["image"]: float(row["doubt"]) for row in read_table(results / "evaluate/doubt.csv")}


def read_table(path: Path) -> list[dict[str, str]]:
    """The rows of a CSV file.

    Raises:
        DataError: it is not there.
    """
    return list(csv.DictReader(read_text(path).splitlines()))


def read_numbers(path: Path) -> list[dict[str, float | None]]:
    """The rows of a CSV file of numbers; an empty cell is None.

    Raises:
        DataError: it is not there.
    """
    return [
        {name: float(value) if value else None for name, value in row.items()}
        for row in read_table(path)
    ]


def read_text(path: Path) -> str:
    """The file as text.

    Raises:
        DataError: it is not there.
    """
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        verb = path.parent.name.replace("_", "-")
        raise DataError(f"{path}: no such file; run `rca {verb}` first") from None
