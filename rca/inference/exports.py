"""Tables of all masks of a folder, written one photograph at a time.

Label maps say which class a pixel belongs to, not which object. There is therefore one COCO
annotation, or one Label Studio region, for each class of a photograph.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO
from urllib.parse import quote
from xml.sax.saxutils import quoteattr

import numpy as np

from rca.data.images import read_mask
from rca.inference.outputs import MASKS, Row
from rca.inference.rle import brush_rle, coco_box, coco_rle
from rca.runtime.files import new_file, write_text

TABLE, FAILED = "predictions.csv", "failed.csv"
COCO, LABEL_STUDIO, LABELS = "coco.json", "label_studio.json", "label_studio.xml"
COLUMNS = (
    "photograph", "mask", "width", "height", "classes", "shares", "confidences", "confidence",
    "doubt", "seconds",
)  # fmt: skip


@dataclass(frozen=True)
class Done:
    """A photograph with a mask.

    Attributes:
        file: The path by which the photograph was reached.
        place: The path below the folder that names are relative to.
        mask: The path of the mask.
        row: The journal's record of the photograph.
    """

    file: Path
    place: str
    mask: Path
    row: Row


def remove_tables(out: Path) -> None:
    """Remove the tables of an earlier run, which may list other photographs than the next."""
    for name in (TABLE, FAILED, COCO, LABEL_STUDIO, LABELS):
        (out / name).unlink(missing_ok=True)


def write_table(out: Path, done: Iterable[Done]) -> None:
    """Write `predictions.csv`: one row for each photograph, with its classes sorted by share."""
    with _table(out / TABLE, COLUMNS) as write:
        for photograph in done:
            row = photograph.row
            found = row.found.values()
            write(
                [
                    photograph.file.as_posix(),
                    f"{MASKS}/{row.name}.png",
                    row.width,
                    row.height,
                    ";".join(row.found),
                    ";".join(f"{share:.6f}" for share, _ in found),
                    ";".join(f"{confidence:.4f}" for _, confidence in found),
                    f"{row.confidence:.4f}",
                    f"{row.doubt:.4f}",
                    f"{row.seconds:.3f}",
                ]
            )


def write_failures(out: Path, failures: Sequence[tuple[Path, str]]) -> None:
    """Write `failed.csv`, with photographs and reasons; no file if there are no failures."""
    if failures:
        with _table(out / FAILED, ("photograph", "reason")) as write:
            for file, reason in failures:
                write([file.as_posix(), reason])


def write_coco(out: Path, done: Callable[[], Iterator[Done]], classes: Sequence[str]) -> None:
    """Write `coco.json`: one annotation for each class of a photograph, as compressed RLE.

    Args:
        out: The output folder.
        done: A function that yields the photographs from the first; it is called twice, because
            images come before annotations.
        classes: The C class names; category i is class i.
    """
    categories = [
        {"id": label, "name": name, "supercategory": ""} for label, name in enumerate(classes, 1)
    ]
    images = (
        {
            "id": number,
            "file_name": photograph.place,
            "width": photograph.row.width,
            "height": photograph.row.height,
        }
        for number, photograph in enumerate(done(), 1)
    )
    with _file(out / COCO) as file:
        file.write('{\n"info": {"description": "masks of rca predict"},\n"categories": ')
        _write_array(file, categories)
        file.write(',\n"images": ')
        _write_array(file, images)
        file.write(',\n"annotations": ')
        _write_array(file, _annotations(done(), classes))
        file.write("\n}\n")


def write_label_studio(
    out: Path, done: Iterable[Done], classes: Sequence[str], palette: np.ndarray, prefix: str
) -> None:
    """Write `label_studio.json`, tasks with brush predictions, and `label_studio.xml`, the labels.

    Args:
        out: The output folder.
        done: The photographs.
        classes: The C class names.
        palette: The colour of each label, uint8 (256, 3).
        prefix: The prefix to the photographs' paths by which Label Studio finds them.
    """
    with _file(out / LABEL_STUDIO) as file:
        _write_array(file, (_task(photograph, classes, prefix) for photograph in done))
        file.write("\n")
    labels = "".join(
        f"    <Label value={quoteattr(name)} background="
        f'"#{"".join(f"{channel:02x}" for channel in palette[label])}"/>\n'
        for label, name in enumerate(classes, 1)
    )
    write_text(
        out / LABELS,
        '<View>\n  <Image name="image" value="$image" zoom="true"/>\n'
        f'  <BrushLabels name="label" toName="image">\n{labels}  </BrushLabels>\n</View>\n',
    )


def _annotations(done: Iterable[Done], classes: Sequence[str]) -> Iterator[dict[str, Any]]:
    number = 0
    for image, photograph in enumerate(done, 1):
        for _, label, region, confidence in _regions(photograph, classes):
            number += 1
            rle = coco_rle(region)
            yield {
                "id": number,
                "image_id": image,
                "category_id": label,
                "segmentation": rle,
                "area": int(region.sum()),
                "bbox": coco_box(rle),
                "iscrowd": 0,
                "score": round(confidence, 4),
            }


def _task(photograph: Done, classes: Sequence[str], prefix: str) -> dict[str, Any]:
    row = photograph.row
    regions = [
        {
            "id": f"class{label}",
            "from_name": "label",
            "to_name": "image",
            "type": "brushlabels",
            "original_width": row.width,
            "original_height": row.height,
            "image_rotation": 0,
            "score": round(confidence, 4),
            "value": {"format": "rle", "rle": brush_rle(region), "brushlabels": [name]},
        }
        for name, label, region, confidence in _regions(photograph, classes)
    ]
    prediction = {"model_version": "rca", "score": round(row.confidence, 4), "result": regions}
    place = quote(photograph.place.encode("utf-8", "surrogateescape"))
    return {"data": {"image": prefix + place}, "predictions": [prediction]}


def _regions(
    photograph: Done, classes: Sequence[str]
) -> Iterator[tuple[str, int, np.ndarray, float]]:
    """Yield name, label, region, bool (H, W), and confidence of each class of a photograph."""
    if not photograph.row.found:
        return
    mask = read_mask(photograph.mask)
    for name, (_, confidence) in photograph.row.found.items():
        label = classes.index(name) + 1
        yield name, label, mask == label, confidence


@contextmanager
def _file(path: Path) -> Iterator[TextIO]:
    """Open a text file that is written atomically; names that are not UTF-8 keep their bytes."""
    with (
        new_file(path) as partial,
        partial.open("w", encoding="utf-8", errors="surrogateescape", newline="") as file,
    ):
        yield file


@contextmanager
def _table(path: Path, columns: Sequence[str]) -> Iterator[Callable[[Sequence[Any]], Any]]:
    """Open a CSV file with these columns; yield a function that writes a row."""
    with _file(path) as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        yield writer.writerow


def _write_array(file: TextIO, items: Iterable[Any]) -> None:
    mark = "[\n"
    for item in items:
        file.write(mark + json.dumps(item))
        mark = ",\n"
    file.write("[]" if mark == "[\n" else "\n]")
