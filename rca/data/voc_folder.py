"""A VOC-like folder on disk: lists, tags, class names and mask values.

    classes.txt                        class names, one per line: line v is mask value v
    tags.csv                           image, split, and tags separated by spaces
    ImageSets/Segmentation/<list>.txt  image names, one per line
    JPEGImages/<image>.jpg
    SegmentationClassAug/<image>.png   mask values: 0 background, 255 ignored
    saliency/<image>.png               0 to 255
    source.json                        how `download` made the folder

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
    """The files of one image.

    Attributes:
        image: The name of the image.
        photograph: The path of the photograph.
        mask: The path of the true mask, or None.
        saliency: The path of the saliency map, or None.
        classes: C, the number of classes, or None if it is unknown.
    """

    image: str
    photograph: Path
    mask: Path | None
    saliency: Path | None
    classes: int | None


@dataclass(frozen=True)
class VocFolder:
    """A VOC-like folder and the contents of its text files.

    Attributes:
        root: The folder.
        classes: The class names in the order of their mask values; empty where `rca data doctor`
            continues without them.
        tags: The tags of each image; empty where `rca data doctor` continues without them.
        source: The content of `source.json`, or None if there is none.
    """

    root: Path
    classes: tuple[str, ...]
    tags: dict[str, tuple[str, ...]]
    source: dict[str, Any] | None

    def image(self, name: str) -> Path:
        """Return the path of the photograph."""
        return self.root / "JPEGImages" / f"{name}.jpg"

    def files(self, name: str) -> ImageFiles:
        """Return all files of the image, for inspection."""
        return ImageFiles(
            image=name,
            photograph=self.image(name),
            mask=self.mask(name),
            saliency=self.saliency(name),
            classes=len(self.classes) or None,
        )

    def mask(self, name: str) -> Path | None:
        """Return the path of the true mask, or None if there is none."""
        path = self.root / "SegmentationClassAug" / f"{name}.png"
        return path if path.exists() else None

    def saliency(self, name: str) -> Path | None:
        """Return the path of the saliency map, or None if there is none."""
        path = self.root / "saliency" / f"{name}.png"
        return path if path.exists() else None


@dataclass(frozen=True)
class ImageList:
    """The image names that the file `path` lists, and the split that they make up."""

    split: str
    path: Path
    images: tuple[str, ...]


def read_voc(root: Path) -> VocFolder:
    """Read the class names, the tags and the source of a VOC-like folder.

    Raises:
        DataError: `classes.txt` or `tags.csv` is missing or malformed, or `source.json` is damaged.
    """
    classes, tags = read_classes(root), read_tags(root / "tags.csv")
    return VocFolder(root, classes, tags, read_source(root))


def read_source(root: Path) -> dict[str, Any] | None:
    """Read `source.json`, if there is one."""
    note = root / "source.json"
    with whole(note, "fetch the data set again"):
        return json.loads(note.read_text(encoding="utf-8")) if note.exists() else None


def read_classes(root: Path) -> tuple[str, ...]:
    """Read the class names in the order of their mask values, which start at 1.

    Raises:
        DataError: `classes.txt` is missing, empty, or names a class twice.
    """
    classes = tuple(_lines(root / "classes.txt"))
    if not classes or len(set(classes)) < len(classes):
        raise DataError(f"{root / 'classes.txt'}: must name each class once, one a line")
    return classes


def read_list(root: Path, split: str, name: str, limit: int | None = None) -> ImageList:
    """Read a list of images in its own order, or its first `limit` images.

    Args:
        root: The folder.
        split: The split that the images make up.
        name: The name of the list.
        limit: The largest number of images, or None for all.

    Raises:
        DataError: There is no such list, or a name on it leads out of the folder, where stages
            would then write files of that name.
    """
    path = list_path(root, name)
    images = tuple(_lines(path)[:limit])
    for image in images:
        if PurePosixPath(image).is_absolute() or ".." in PurePosixPath(image).parts:
            raise DataError(f"{path}: {image!r} points outside the folder; list names inside it")
    return ImageList(split, path, images)


def list_path(root: Path, name: str) -> Path:
    """Return the path of the list `name`."""
    return root / "ImageSets" / "Segmentation" / f"{name}.txt"


def label_values(classes: Sequence[str], chosen: Sequence[str]) -> np.ndarray:
    """Map mask values to labels, uint8 (256,): 0 stays, `chosen` become 1 … C, all others 255.

    Args:
        classes: The data set's classes in the order of their mask values, from 1.
        chosen: The C chosen classes in label order.
    """
    labels = np.full(256, IGNORE, dtype=np.uint8)
    labels[0] = 0
    for label, name in enumerate(chosen, start=1):
        labels[1 + classes.index(name)] = label
    return labels


def label_palette(classes: Sequence[str], chosen: Sequence[str]) -> np.ndarray:
    """Map labels to VOC's colours of their classes, uint8 (256, 3); unused labels are black."""
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
    """Read the tags of each image from a CSV file with the columns `image` and `tags`.

    Raises:
        DataError: There is no such file, a column is missing, or an image has two rows.
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
