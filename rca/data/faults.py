"""What can be wrong with a data set: every check returns one line per fault, naming the file."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np

from rca.config import IGNORE
from rca.data.images import DataError, read_image, read_mask
from rca.data.voc import ImageList, VocFolder

SHOWN = 20


@dataclass(frozen=True)
class Inspection:
    """What the files of one image hold; `size` (width, height) is None if it is undecodable."""

    size: tuple[int, int] | None
    digest: str | None
    faults: list[str]


def inspect(folder: VocFolder, image: str) -> Inspection:
    """Decode photograph, mask and saliency map of `image`, and compare them."""
    path = folder.image(image)
    try:
        size = read_image(path).size
    except DataError as error:
        return Inspection(None, None, [str(error)])
    faults = []
    if mask := folder.mask(image):
        faults += _map_faults(mask, size, largest=len(folder.classes))
    if saliency := folder.saliency(image):
        faults += _map_faults(saliency, size, largest=IGNORE)
    return Inspection(size, hashlib.sha256(path.read_bytes()).hexdigest(), faults)


def class_faults(folder: VocFolder, chosen: Sequence[str]) -> list[str]:
    """Chosen classes that the data set does not have, or that are named twice."""
    known = ", ".join(folder.classes)
    faults = [
        f"index.classes: {name!r} is no class of {folder.root / 'classes.txt'} ({known})"
        for name in chosen
        if name not in folder.classes
    ]
    return faults + [f"index.classes: {name!r} is named twice" for name in _repeated(chosen)]


def list_faults(lists: Sequence[ImageList]) -> list[str]:
    """Empty lists, names that a list repeats, and names on two lists."""
    faults = [f"{names.path}: is empty" for names in lists if not names.images]
    for names in lists:
        faults += [f"{names.path}: names {image} twice" for image in _repeated(names.images)]
    for first, second in combinations(lists, 2):
        faults += [
            f"{second.path}: names {image} for {second.split}, {first.path} for {first.split}"
            for image in sorted(set(first.images) & set(second.images))
        ]
    return faults


def tag_faults(folder: VocFolder, images: Iterable[str]) -> list[str]:
    """Images without a row of tags, and tags that are no class."""
    path = folder.root / "tags.csv"
    faults = []
    for image in images:
        if image not in folder.tags:
            faults.append(f"{path}: has no row for {image}")
            continue
        faults += [
            f"{path}: {image} has the tag {tag!r}, which is no class"
            for tag in folder.tags[image]
            if tag not in folder.classes
        ]
    return faults


def copy_faults(
    folder: VocFolder, lists: Sequence[ImageList], found: Mapping[str, Inspection]
) -> list[str]:
    """Images of two splits whose files are the same bytes under two names."""
    faults = []
    for first, second in combinations(lists, 2):
        names = defaultdict(list)
        for image in dict.fromkeys(first.images):
            names[found[image].digest].append(image)
        faults += [
            f"{folder.image(image)}: is a copy of {folder.image(twin)}, which is in {first.split}"
            for image in dict.fromkeys(second.images)
            if found[image].digest
            for twin in names[found[image].digest]
            if twin != image
        ]
    return faults


def gap_faults(folder: VocFolder, names: ImageList) -> list[str]:
    """Images without a mask or saliency map where others on their list have one."""
    images = list(dict.fromkeys(names.images))
    faults = []
    for what, find in (("mask", folder.mask), ("saliency map", folder.saliency)):
        lacking = [image for image in images if find(image) is None]
        if len(lacking) < len(images):
            faults += [
                f"{folder.image(image)}: has no {what}, others in {names.split} have one"
                for image in lacking
            ]
    return faults


def refuse(root: Path, faults: Sequence[str]) -> None:
    """Do nothing if there is no fault.

    Raises:
        DataError: listing the faults, the first 20 in full.
    """
    if not faults:
        return
    lines = [f"  {fault}" for fault in faults[:SHOWN]]
    if len(faults) > SHOWN:
        lines.append(f"  … and {len(faults) - SHOWN} more")
    count = "1 fault" if len(faults) == 1 else f"{len(faults)} faults"
    raise DataError("\n".join([f"{root} cannot be indexed, {count} to correct:", *lines]))


def _map_faults(path: Path, size: tuple[int, int], largest: int) -> list[str]:
    try:
        values = read_mask(path)
    except DataError as error:
        return [str(error)]
    faults = []
    height, width = values.shape
    if (width, height) != size:
        faults.append(f"{path}: is {width} × {height}, its image {size[0]} × {size[1]}")
    present = np.bincount(values.ravel(), minlength=256).nonzero()[0]
    unknown = [int(value) for value in present if largest < value < IGNORE]
    if unknown:
        faults.append(f"{path}: holds {unknown}; known are 0 to {largest}, and {IGNORE}")
    return faults


def _repeated(names: Sequence[str]) -> list[str]:
    return [name for name, count in Counter(names).items() if count > 1]
