"""The index: one table of images, splits, sizes and tags, which every later stage reads.

On disk, a folder with `index.csv` (one row an image) and `dataset.json` (what holds for all).
Label maps use 0 for the background, 1 … C for `classes` in their order, and 255 for ignored pixels;
`mask_values` translates the data set's own mask values to these.
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
    """One image. Paths are whole; `mask` and `saliency` are None where there is none."""

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
        root: folder of the data set.
        classes: C class names without the background, in label order.
        mask_values: (256,) uint8, the data set's mask value → label.
        palette: (256, 3) uint8, label → colour.
        source: what `download` noted of the data's origin: the source, digests of the archives,
            and the choices that a number's protocol must name, such as whose tags they are.
    """

    root: Path
    classes: tuple[str, ...]
    mask_values: np.ndarray
    palette: np.ndarray
    records: tuple[Record, ...]
    source: dict[str, Any] | None = None

    def split(self, name: str) -> list[Record]:
        """The images of `train` or `val`, in the index's order."""
        return [record for record in self.records if record.split == name]

    def tag_vector(self, record: Record) -> Tensor:
        """Image-level labels y, float32 (C,), 1 where the image holds the class."""
        import torch  # here: the CRF's worker processes read indices and need no torch

        return torch.tensor([float(name in record.tags) for name in self.classes])

    def tag_matrix(self, records: Sequence[Record]) -> Tensor:
        """Stack the tags of some images, float32 (N, C)."""
        import torch

        return torch.stack([self.tag_vector(record) for record in records])

    def truth(self, record: Record) -> np.ndarray:
        """The true label map, uint8 (H, W), classes outside the index as 255.

        Raises:
            DataError: the image has no mask.
        """
        if record.mask is None:
            raise DataError(f"{record.file}: has no mask to evaluate against")
        return self.mask_values[read_mask(record.mask)]


class LeakError(RuntimeError):
    """Training asked for what it must not see; a mistake in the code, not in the data."""


class MasklessIndex(Index):
    """The index without masks, for what reads images of both splits and learns from tags."""

    def tag_matrix(self, records: Sequence[Record]) -> Tensor:
        """Stack the tags of some images, float32 (N, C)."""
        import torch

        return torch.stack([self.tag_vector(record) for record in records])

    def truth(self, record: Record) -> np.ndarray:
        """Nothing: there are no masks here.

        Raises:
            LeakError: always.
        """
        raise LeakError(f"learning from tags must not see the mask of {record.image}")


class TrainingIndex(MasklessIndex):
    """The index as training sees it: training images without masks, and nothing of validation."""

    def split(self, name: str) -> list[Record]:
        """The training images, without masks.

        Raises:
            LeakError: another split is asked for.
        """
        if name != "train":
            raise LeakError(f"training must not see images of {name}")
        return super().split(name)


def read_training_index(folder: Path) -> TrainingIndex:
    """Read what `write_index` wrote, but for the masks and the images of validation.

    Raises:
        DataError: the folder holds no index.
    """
    whole = read_index(folder)
    records = tuple(replace(record, mask=None) for record in whole.split("train"))
    return TrainingIndex(**{**vars(whole), "records": records})


def read_maskless_index(folder: Path) -> MasklessIndex:
    """Read what `write_index` wrote, but for the masks.

    Raises:
        DataError: the folder holds no index.
    """
    whole = read_index(folder)
    records = tuple(replace(record, mask=None) for record in whole.records)
    return MasklessIndex(**{**vars(whole), "records": records})


def write_index(folder: Path, index: Index) -> None:
    """Write `index` to `folder`; the same index, the same bytes."""
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
    """Read what `write_index` wrote.

    Raises:
        DataError: the folder holds no index, or a damaged one.
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
    """Records in pieces of `size`, the last one of what is left."""
    return [records[start : start + size] for start in range(0, len(records), size)]


def left_to_label(folder: Path, records: Sequence[Record]) -> list[Record]:
    """Those of `records` whose label map is not yet in `folder`, whole and of the right size."""
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
