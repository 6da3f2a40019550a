"""Reading back the numbers that stages wrote, for whatever shows them."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from rca.data.images import DataError, whole

STAGES = ("train_cam", "train_seg", "evaluate")  # the stages that write numbers


def read_metrics(results: Path) -> dict[str, Any]:
    """Read `metrics.json` of the experiment in `results`.

    Raises:
        DataError: the file is missing, or is not valid JSON.
    """
    return read_json(results / "evaluate/metrics.json")


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON file of a stage.

    Raises:
        DataError: the file is missing, or is not valid JSON.
    """
    text = read_text(path)
    try:
        return json.loads(text)
    except ValueError as error:
        raise DataError(f"{path}: not valid JSON ({error}); {_again(path)}") from None


def read_image_table(results: Path, classes: Sequence[str]) -> list[dict[str, str]]:
    """Read `per_image.csv`, which has a column for each class; most cells are empty and left out.

    Raises:
        DataError: the file is missing or damaged, or was written by an older version.
    """
    path = results / "evaluate/per_image.csv"
    columns = ("image", *(f"iou_{name}" for name in classes))
    with whole(path, _again(path)):
        return [{name: cell for name, cell in row.items() if cell} for row in _rows(path, *columns)]


def read_doubts(results: Path, images: Iterable[str]) -> dict[str, float]:
    """Read image → doubt of its mask, from 0 to 1, from `doubt.csv`.

    Raises:
        DataError: the file is missing or damaged, or has no row for one of `images`.
    """
    path = results / "evaluate/doubt.csv"
    with whole(path, _again(path)):
        doubts = {row["image"]: float(row["doubt"]) for row in _rows(path, "image", "doubt")}
        for image in images:
            if image not in doubts:
                raise ValueError(f"no row for {image}")
    return doubts


def read_table(path: Path) -> list[dict[str, str]]:
    """Read the rows of a CSV file.

    Raises:
        DataError: the file is missing or damaged.
    """
    with whole(path, _again(path)):
        return list(_rows(path))


def _rows(path: Path, *columns: str) -> Iterator[dict[str, str]]:
    """Read the rows of a CSV file with these columns one by one: that of all images is large."""
    try:
        with path.open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            if lacking := [name for name in columns if name not in (reader.fieldnames or ())]:
                raise ValueError(f"no column {lacking[0]}")
            for row in reader:
                if None in row or None in row.values():
                    raise ValueError("a row and the header differ in their number of cells")
                yield row
    except FileNotFoundError:
        raise _missing(path) from None


def read_numbers(path: Path) -> list[dict[str, float | None]]:
    """Read the rows of a CSV file of numbers; an empty cell is None.

    Raises:
        DataError: the file is missing or damaged.
    """
    with whole(path, _again(path)):
        return [
            {name: float(value) if value else None for name, value in row.items()}
            for row in read_table(path)
        ]


def read_text(path: Path) -> str:
    """Read a file as text.

    Raises:
        DataError: the file is missing or damaged.
    """
    try:
        with whole(path, _again(path)):
            return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise _missing(path) from None


def _missing(path: Path) -> DataError:
    return DataError(f"{path}: no such file; {_again(path).replace('again', 'first')}")


def _again(path: Path) -> str:
    """Say which stage to run again, by the folder of the file or, for a training, of its runs."""
    parents = [folder.name for folder in path.parents]
    stage = next((name for name in parents if name in STAGES), parents[0])
    return f"run `rca {stage.replace('_', '-')}` again"
