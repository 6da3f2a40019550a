"""A VOC-like folder as it lies on disk: lists, tags, class names, mask values.

    classes.txt                        class names, one a line: line v is mask value v
    tags.csv                           image, split, tags with spaces between
    ImageSets/Segmentation/<list>.txt  image names, one a line
    JPEGImages/<image>.jpg
    SegmentationClassAug/<image>.png   mask values: 0 background, 255 ignored
    saliency/<image>.png               0 to 255
    source.json                        what `download` did to make the folder

A split has masks for all of its images or for none, and likewise saliency maps.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from rca.config import IGNORE
from rca.data.images import DataError, whole
from rca.data.palette import voc_palette


@dataclass(frozen=True)
class ImageFiles:
    """The files of one image, and C, the number of classes; None where that is unknown."""

    image: str
    photograph: Path
    mask: Path | None
    saliency: Path | None
    classes: int | None


@dataclass(frozen=True)
class VocFolder:
    """A folder and its texts; `rca data doctor` goes on where classes or tags are missing.

    Attributes:
        classes: class names in the order of their mask values.
        tags: image → tags.
        source: what `source.json` says, if there is one.
    """

    root: Path
    classes: tuple[str, ...]
    tags: dict[str, tuple[str, ...]]
    source: dict[str, Any] | None

    def image(self, name: str) -> Path:
        """The photograph."""
        return self.root / "JPEGImages" / f"{name}.jpg"

    def files(self, name: str) -> ImageFiles:
        """All files of the image, to inspect."""
        return ImageFiles(
            image=name,
            photograph=self.image(name),
            mask=self.mask(name),
            saliency=self.saliency(name),
            classes=len(self.classes) or None,
        )

    def mask(self, name: str) -> Path | None:
        """The true mask, where there is one."""
        path = self.root / "SegmentationClassAug" / f"{name}.png"
        return path if path.exists() else None

    def saliency(self, name: str) -> Path | None:
        """The saliency map, where there is one."""
        path = self.root / "saliency" / f"{name}.png"
        return path if path.exists() else None


@dataclass(frozen=True)
class ImageList:
    """Image names as the file `path` lists them, and the split they make up."""

    split: str
    path: Path
    images: tuple[str, ...]


def read_voc(root: Path) -> VocFolder:
    """Class names and tags of the folder `root`.

    Raises:
        DataError: `classes.txt` or `tags.csv` is missing, or is not what it should be.
    """
    classes, tags = read_classes(root), read_tags(root / "tags.csv")
    return VocFolder(root, classes, tags, read_source(root))


def read_source(root: Path) -> dict[str, Any] | None:
    """What `source.json` says, if there is one."""
    note = root / "source.json"
    with whole(note, "fetch the data set again"):
        return json.loads(note.read_text(encoding="utf-8")) if note.exists() else None


def read_classes(root: Path) -> tuple[str, ...]:
    """Class names in the order of their mask values, which start at 1.

    Raises:
        DataError: `classes.txt` is missing, empty, or names a class twice.
    """
    classes = tuple(_lines(root / "classes.txt"))
    if not classes or len(set(classes)) < len(classes):
        raise DataError(f"{root / 'classes.txt'}: must name each class once, one a line")
    return classes


def read_list(root: Path, split: str, name: str, limit: int | None = None) -> ImageList:
    """The list `name` as it stands there, or its first `limit` images, for the split `split`.

    Raises:
        DataError: there is no such list, or a name on it leads out of the folder: stages write
            files of these names.
    """
    path = list_path(root, name)
    images = tuple(_lines(path)[:limit])
    for image in images:
        if PurePosixPath(image).is_absolute() or ".." in PurePosixPath(image).parts:
            raise DataError(f"{path}: {image!r} points outside the folder; list names inside it")
    return ImageList(split, path, images)


def list_path(root: Path, name: str) -> Path:
    """Where the list `name` lies."""
    return root / "ImageSets" / "Segmentation" / f"{name}.txt"


def label_values(classes: Sequence[str], chosen: Sequence[str]) -> np.ndarray:
    """Mask value → label, uint8 (256,): 0 stays, `chosen` become 1 … C, all others 255.

    Args:
        classes: the data set's classes in the order of their mask values, from 1.
        chosen: C of them in label order.
    """
    labels = np.full(256, IGNORE, dtype=np.uint8)
    labels[0] = 0
    for label, name in enumerate(chosen, start=1):
        labels[1 + classes.index(name)] = label
    return labels


def label_palette(classes: Sequence[str], chosen: Sequence[str]) -> np.ndarray:
    """Label → colour, uint8 (256, 3): VOC's colour of each class; labels in no use are black."""
    colours = voc_palette()
    values = [0, *(1 + classes.index(name) for name in chosen)]
    palette = np.zeros_like(colours)
    palette[: len(values)] = colours[values]
    palette[IGNORE] = colours[IGNORE]
    return palette


def _lines(path: Path) -> list[str]:
    try:
        with whole(path, "fetch the data set again"):
            return path.read_text(encoding="utf-8").split()
    except FileNotFoundError:
        raise DataError(
            f"{path}: no such file; run `rca download` first, or correct the data set's layout"
        ) from None


def read_tags(path: Path) -> dict[str, tuple[str, ...]]:
    """Image → tags of a CSV with these two columns.

    Raises:
        DataError: there is no such file, a column is missing, or an image has two rows.
    """
    try:
        with (
            whole(path, "fetch the data set again"),
            path.open(newline="", encoding="utf-8") as file,
        ):
            rows = list(csv.DictReader(file))
    except FileNotFoundError:
        raise DataError(
            f"{path}: no such file; run `rca download` first, or write one row (image, split, "
            "tags) per image"
        ) from None
    tags: dict[str, tuple[str, ...]] = {}
    for line, row in enumerate(rows, start=2):
        image, names = row.get("image"), row.get("tags")
        if not image or names is None:
            raise DataError(f"{path}: line {line} lacks the column `image` or `tags`")
        if image in tags:
            raise DataError(f"{path}: line {line} names {image} a second time; keep one row")
        tags[image] = tuple(names.split())
    return tags
