"""The index: one table of images, splits, sizes and tags, which every later stage reads.

On disk, it is a folder with `index.csv` (one row per image), `dataset.json` (what all images share)
and `SHA256SUMS` (the digest of every file that the index names). Label maps use 0 for the
background, 1 … C for `classes` in their order, and 255 for ignored pixels; `mask_values` translates
the data set's own mask values to these.
"""

from __future__ import annotations

import csv
import io
import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rca.data.images import DataError, is_label_map, read_mask, whole
from rca.runtime.files import write_json, write_text

if TYPE_CHECKING:
    from torch import Tensor

log = logging.getLogger(__name__)

COLUMNS = ("image", "split", "file", "mask", "saliency", "width", "height", "tags")


@dataclass(frozen=True)
class Record:
    """One image of the index.

    Attributes:
        image: The name of the image.
        split: The split that the image belongs to, `train` or `val`.
        file: The path of the image, which includes the index's root, as all paths here do.
        mask: The path of the true mask, or None.
        saliency: The path of the saliency map, or None.
        width: The width in pixels.
        height: The height in pixels.
        tags: The names of the classes in the image.
    """

    image: str
    split: str
    file: Path
    mask: Path | None
    saliency: Path | None
    width: int
    height: int
    tags: tuple[str, ...]


@dataclass(frozen=True)
class Index:
    """All images of an experiment, sorted by split and name.

    Attributes:
        root: The folder of the data set.
        classes: The C class names without the background, in label order.
        mask_values: The label of each of the data set's mask values, uint8 (256,).
        palette: The colour of each label, uint8 (256, 3).
        records: The images.
        source: What `download` recorded of the data's origin: the source, digests of the archives,
            and the choices that a result's protocol must state, such as where the tags come from.
    """

    root: Path
    classes: tuple[str, ...]
    mask_values: np.ndarray
    palette: np.ndarray
    records: tuple[Record, ...]
    source: dict[str, Any] | None = None

    def split(self, name: str) -> list[Record]:
        """Return the images of `train` or `val`, in the index's order."""
        return [record for record in self.records if record.split == name]

    def tag_vector(self, record: Record) -> Tensor:
        """Return the image-level labels y, float32 (C,), 1 where the image holds the class."""
        import torch  # here, since the CRF's worker processes read indices and need no torch

        return torch.tensor([float(name in record.tags) for name in self.classes])

    def tag_matrix(self, records: Sequence[Record]) -> Tensor:
        """Stack the tags of some images, float32 (N, C)."""
        import torch

        return torch.stack([self.tag_vector(record) for record in records])

    def truth(self, record: Record) -> np.ndarray:
        """Read the true label map, uint8 (H, W), with classes outside the index as 255.

        Raises:
            DataError: The image has no mask.
        """
        if record.mask is None:
            raise DataError(f"{record.file}: has no mask to evaluate against")
        return self.mask_values[read_mask(record.mask)]


class LeakError(RuntimeError):
    """A request of the training for data that it must not see: a bug, not an error in the data."""


class MasklessIndex(Index):
    """An index without masks, for code that reads images of both splits and learns from tags."""

    def truth(self, record: Record) -> np.ndarray:
        """Raise an error: this index has no masks.

        Raises:
            LeakError: Always.
        """
        raise LeakError(f"learning from tags must not see the mask of {record.image}")


class TrainingIndex(MasklessIndex):
    """The index as the training sees it: training images without masks, no validation images."""

    def split(self, name: str) -> list[Record]:
        """Return the training images, without masks.

        Raises:
            LeakError: Another split is asked for.
        """
        if name != "train":
            raise LeakError(f"training must not see images of {name}")
        return super().split(name)


def read_training_index(folder: Path) -> TrainingIndex:
    """Read an index without its masks and validation images.

    Raises:
        DataError: The folder holds no index, or a damaged one.
    """
    whole = read_index(folder)
    records = tuple(replace(record, mask=None) for record in whole.split("train"))
    return TrainingIndex(**{**vars(whole), "records": records})


def read_maskless_index(folder: Path) -> MasklessIndex:
    """Read an index without its masks.

    Raises:
        DataError: The folder holds no index, or a damaged one.
    """
    whole = read_index(folder)
    records = tuple(replace(record, mask=None) for record in whole.records)
    return MasklessIndex(**{**vars(whole), "records": records})


def write_index(folder: Path, index: Index) -> None:
    """Write an index to a folder; equal indices give identical bytes."""
    table = io.StringIO()
    writer = csv.DictWriter(table, COLUMNS, lineterminator="\n")
    writer.writeheader()
    for record in index.records:
        paths = {
            key: path.relative_to(index.root).as_posix() if path else ""
            for key, path in (
                ("file", record.file),
                ("mask", record.mask),
                ("saliency", record.saliency),
            )
        }
        writer.writerow(
            {
                "image": record.image,
                "split": record.split,
                **paths,
                "width": record.width,
                "height": record.height,
                "tags": ";".join(record.tags),
            }
        )
    write_text(folder / "index.csv", table.getvalue())
    write_json(
        folder / "dataset.json",
        {
            "root": index.root.as_posix(),
            "classes": list(index.classes),
            "mask_values": index.mask_values.tolist(),
            "palette": index.palette.tolist(),
            "source": index.source,
        },
    )


def read_index(folder: Path) -> Index:
    """Read an index that `write_index` wrote.

    Raises:
        DataError: The folder holds no index, or a damaged one.
    """
    with whole(folder, "run `rca index` again"):
        return _read(folder)


def _read(folder: Path) -> Index:
    try:
        common = json.loads((folder / "dataset.json").read_text(encoding="utf-8"))
        with (folder / "index.csv").open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
    except FileNotFoundError as error:
        raise DataError(f"{error.filename}: no such file; run `rca index` first") from None
    root = Path(common["root"])
    return Index(
        root=root,
        classes=tuple(common["classes"]),
        mask_values=np.array(common["mask_values"], dtype=np.uint8),
        palette=np.array(common["palette"], dtype=np.uint8),
        records=tuple(_record(row, root) for row in rows),
        source=common["source"],
    )


def in_pieces(records: Sequence[Record], size: int) -> list[Sequence[Record]]:
    """Split records into pieces of `size`; the last piece may be smaller."""
    return [records[start : start + size] for start in range(0, len(records), size)]


def left_to_label(folder: Path, records: Sequence[Record]) -> list[Record]:
    """Return the records whose label map is not in `folder`, complete and of the right size."""
    left = [
        record
        for record in records
        if not is_label_map(folder / f"{record.image}.png", record.height, record.width)
    ]
    if len(left) < len(records):
        log.info("%d of %d images were already done", len(records) - len(left), len(records))
    return left


def _record(row: dict[str, str], root: Path) -> Record:
    return Record(
        image=row["image"],
        split=row["split"],
        file=root / row["file"],
        mask=root / row["mask"] if row["mask"] else None,
        saliency=root / row["saliency"] if row["saliency"] else None,
        width=int(row["width"]),
        height=int(row["height"]),
        tags=tuple(row["tags"].split(";")) if row["tags"] else (),
    )
