"""The text files of the layout that every source produces."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from rca.runtime.files import write_text

TagRow = tuple[str, str, Sequence[str]]  # image, split, tags


def write_texts(
    folder: Path,
    classes: Sequence[str],
    lists: Mapping[str, Iterable[str]],
    rows: Iterable[TagRow],
) -> None:
    """Write `classes.txt`, the image lists (sorted) and `tags.csv` to `folder`."""
    write_text(folder / "classes.txt", "".join(f"{name}\n" for name in classes))
    for name, images in lists.items():
        path = folder / "ImageSets" / "Segmentation" / f"{name}.txt"
        write_text(path, "".join(f"{image}\n" for image in sorted(images)))
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(("image", "split", "tags"))
    writer.writerows((image, split, " ".join(tags)) for image, split, tags in sorted(rows))
    write_text(folder / "tags.csv", table.getvalue())
