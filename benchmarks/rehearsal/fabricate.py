"""A fabricated data set of any size: re-encoded crops of the embedded photographs, and their masks.

The number of an image and the seed determine its crop, so the same call gives the same archive. No
two photographs have the same bytes. The sample's classes are spread over as many classes as asked
for, so that tags and masks agree, but mean nothing.
"""

from __future__ import annotations

import hashlib
import io
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from rca.config import IGNORE
from rca.data.checksums import sha256_of
from rca.data.palette import voc_palette
from rca.runtime.files import new_file
from rca.sources.unpacking import contents

SAMPLE = Path("data/embedded/voc12_animals_sample.tar")
SIDES = (96, 160)  # pixels, shortest and longest side of a crop
QUALITY = 85  # of the JPEGs


@dataclass(frozen=True)
class Size:
    """The size of a data set: images in each split, and classes."""

    images: int
    images_val: int
    classes: int


@dataclass(frozen=True)
class Fabricated:
    """An image: its photograph as JPEG, its mask as PNG, and the labels in the mask."""

    photograph: bytes
    mask: bytes
    labels: tuple[int, ...]


@dataclass(frozen=True)
class Source:
    """An embedded photograph, (H, W, 3), its mask, (H, W), and (row, column) of its objects."""

    photograph: np.ndarray
    mask: np.ndarray
    objects: np.ndarray


def write_archive(file: Path, size: Size, seed: int = 0) -> str:
    """Write the data set as a tar archive that stage `download` takes; return its SHA-256."""
    tags = ["image,split,tags"]
    lists: dict[str, list[str]] = {"train": [], "val": []}
    splits = ["train"] * size.images + ["val"] * size.images_val
    with new_file(file) as partial, tarfile.open(partial, "w") as tar:
        for number, image in enumerate(fabricate(size, seed)):
            name, split = f"{number:09d}", splits[number]
            _add(tar, f"JPEGImages/{name}.jpg", image.photograph)
            _add(tar, f"SegmentationClassAug/{name}.png", image.mask)
            tags.append(f"{name},{split},{' '.join(class_name(label) for label in image.labels)}")
            lists[split].append(name)
        classes = [class_name(label) for label in range(1, size.classes + 1)]
        texts = {"tags.csv": tags, "classes.txt": classes}
        texts |= {f"ImageSets/Segmentation/{split}.txt": names for split, names in lists.items()}
        for name, lines in texts.items():
            _add(tar, name, "".join(f"{line}\n" for line in lines).encode())
    return sha256_of(file)


def class_name(label: int) -> str:
    """Name the class of a label, 1 … C."""
    return f"class{label:02d}"


def fabricate(size: Size, seed: int) -> Iterator[Fabricated]:
    """Yield all images, those of the training first; no two have the same photograph."""
    sources = read_sources()
    seen: set[bytes] = set()
    for number in range(size.images + size.images_val):
        attempt = 0
        while True:
            draws = np.random.default_rng([seed, number, attempt])
            image = cut(sources[draws.integers(len(sources))], size.classes, draws)
            digest = hashlib.sha256(image.photograph).digest()
            if digest not in seen:
                break
            attempt += 1
        seen.add(digest)
        yield image


def read_sources(sample: Path = SAMPLE) -> list[Source]:
    """Read the embedded photographs that show an object, in the archive's order by name."""
    photographs, masks = {}, {}
    for name, content in contents(sample, lambda name: name.endswith((".jpg", ".png"))):
        folder, stem = Path(name).parent.name, Path(name).stem
        if folder == "JPEGImages":
            photographs[stem] = np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))
        elif folder == "SegmentationClassAug":
            masks[stem] = np.asarray(Image.open(io.BytesIO(content)))
    found = []
    for stem in sorted(photographs):
        mask = masks[stem]
        objects = np.argwhere((mask > 0) & (mask < IGNORE))
        if len(objects):
            found.append(Source(photographs[stem], mask, objects))
    return found


def cut(source: Source, classes: int, draws: np.random.Generator) -> Fabricated:
    """Cut a rectangle that holds a random pixel of an object, maybe mirror it, and encode it."""
    sides = draws.integers(*SIDES, size=2, endpoint=True)
    place = source.objects[draws.integers(len(source.objects))]
    area = []
    for side, centre, length in zip(sides, place, source.mask.shape, strict=True):
        side = min(int(side), length)
        start = int(draws.integers(max(centre - side + 1, 0), min(centre, length - side) + 1))
        area.append(slice(start, start + side))
    photograph, mask = source.photograph[tuple(area)], source.mask[tuple(area)]
    if draws.integers(2):
        photograph, mask = photograph[:, ::-1], mask[:, ::-1]
    mask = _spread(mask, classes, int(draws.integers(classes)))
    labels = tuple(int(label) for label in np.unique(mask) if 0 < label < IGNORE)
    return Fabricated(_jpeg(photograph), _png(mask), labels)


def _spread(mask: np.ndarray, classes: int, shift: int) -> np.ndarray:
    """Move the labels of objects by `shift`, within 1 … `classes`."""
    labels = np.arange(256)
    labels[1:IGNORE] = (labels[1:IGNORE] - 1 + shift) % classes + 1
    return labels.astype(np.uint8)[mask]


def _jpeg(photograph: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(photograph)).save(file, "JPEG", quality=QUALITY)
    return file.getvalue()


def _png(mask: np.ndarray) -> bytes:
    image = Image.fromarray(np.ascontiguousarray(mask))
    image.putpalette(voc_palette().tobytes())
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(content)
    tar.addfile(member, io.BytesIO(content))
