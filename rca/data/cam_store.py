"""The CAM store: quantised maps of the present classes only, many images per file.

A shard is a safetensors file with two tensors per image: `<image>.cams`, (N, h, w), with 8 or 16
bits per value, and `<image>.classes`, (N,), the 0-based classes that the maps belong to. Its
metadata holds the checksum of each tensor. COCO's 80 float32 maps of one image take 100 MB; this
takes tens of kB.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from copy import copy
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from rca.data.images import DataError, whole
from rca.data.index import Index, Record, in_pieces
from rca.runtime.files import new_file

AGAIN = "run the stage that made it again"
CHECKSUMS = "crc32"  # the metadata key: a JSON object from tensor name to CRC-32
DTYPES: dict[int, type[np.uint8 | np.uint16]] = {8: np.uint8, 16: np.uint16}


class CamShard:
    """A writer that collects the CAMs of several images and writes them as one file."""

    def __init__(self, bits: int) -> None:
        self.dtype = DTYPES[bits]
        self.tensors: dict[str, np.ndarray] = {}

    def add(self, image: str, classes: np.ndarray, cams: np.ndarray) -> None:
        """Add the CAMs of an image.

        Args:
            image: The name of the image.
            classes: The 0-based classes of the CAMs, (N,).
            cams: The CAMs, (N, h, w), from 0 to 1.
        """
        top = np.iinfo(self.dtype).max
        # In C order: safetensors writes the raw memory, so a transposed view would be scrambled.
        self.tensors[f"{image}.cams"] = np.rint(cams * top).astype(self.dtype, order="C")
        self.tensors[f"{image}.classes"] = classes.astype(np.uint8)

    def write(self, path: Path) -> None:
        """Write all images to `path`, completely or not at all."""
        sums = {key: zlib.crc32(value.data) for key, value in self.tensors.items()}
        with new_file(path) as partial:
            save_file(self.tensors, partial, {CHECKSUMS: json.dumps(sums)})


def is_shard(path: Path, images: Sequence[str]) -> bool:
    """Check whether `path` is a complete shard of these images, as `CamShard` writes it."""
    return holds(path, images, ("cams", "classes"))


def holds(path: Path, images: Sequence[str], parts: Sequence[str]) -> bool:
    """Check whether `path` is a complete safetensors file of exactly these images and parts.

    Its keys must be `<image>.<part>` for each image and each part, and no others.
    """
    try:
        with safe_open(path, framework="numpy") as file:  # refuses truncated files
            keys = set(file.keys())
    except (OSError, SafetensorError):
        return False
    return keys == {f"{image}.{part}" for image in images for part in parts}


def store_files(data: Index, size: int) -> dict[str, Sequence[Record]]:
    """List the files of both splits' stores, training images first, with the records in each.

    Args:
        data: The index.
        size: The largest number of images per file.

    Returns:
        A mapping from each file's path, relative to the store, to its records.
    """
    return {
        f"{split}/cams-{number:05d}.safetensors": records
        for split in ("train", "val")
        for number, records in enumerate(in_pieces(data.split(split), size))
    }


class CamStore:
    """A reader of the CAMs in one shard or in a folder of shards, one image at a time.

    It keeps the last shard open: most images follow one another in a shard, and to open one parses
    its description of all its images.
    """

    def __init__(self, source: Path) -> None:
        self.files: dict[str, Path] = {}
        self._last: tuple[Path, safe_open, dict[str, int]] | None = None
        for path in [source] if source.is_file() else sorted(source.glob("*.safetensors")):
            with whole(path, AGAIN), safe_open(path, framework="numpy") as shard:
                keys = shard.keys()
                names = (key.removesuffix(".cams") for key in keys if key.endswith(".cams"))
                self.files.update(dict.fromkeys(names, path))
        if not self.files:
            raise DataError(f"{source}: holds no CAMs; run `rca infer-cam` first")

    def __iter__(self) -> Iterator[str]:
        return iter(self.files)

    def __getstate__(self) -> dict[str, Any]:
        return {"files": self.files, "_last": None}  # an open file cannot go to another process

    def of(self, images: Iterable[str]) -> CamStore:
        """Return a reader of some images, which is small enough for a worker process.

        Args:
            images: The names of the images; those that the store does not have are left out.
        """
        some = copy(self)
        some.files = {image: self.files[image] for image in images if image in self.files}
        return some

    def read(self, image: str) -> tuple[np.ndarray, np.ndarray]:
        """Read the CAMs of an image.

        Returns:
            The 0-based classes, int64 (N,), and their CAMs, float32 (N, h, w), from 0 to 1.

        Raises:
            DataError: The store has no such image, or its file is damaged.
        """
        if image not in self.files:
            raise DataError(f"{image}: not in the CAM store; run `rca infer-cam` again")
        path = self.files[image]
        with whole(path, AGAIN):
            shard, sums = self._opened(path)
            cams = _checked(shard, f"{image}.cams", sums)
            classes = _checked(shard, f"{image}.classes", sums)
            return classes.astype(np.int64), cams.astype(np.float32) / np.iinfo(cams.dtype).max

    def _opened(self, path: Path) -> tuple[safe_open, dict[str, int]]:
        """Return a shard and the checksums of its tensors."""
        if self._last is None or self._last[0] != path:
            shard = safe_open(path, framework="numpy")
            sums = json.loads((shard.metadata() or {}).get(CHECKSUMS, "{}"))
            self._last = path, shard, sums
        return self._last[1:]


def _checked(shard: safe_open, key: str, sums: Mapping[str, int]) -> np.ndarray:
    """Read a tensor and verify its checksum; older files have no checksums and are trusted.

    Raises:
        ValueError: The checksum does not match.
    """
    value = shard.get_tensor(key)
    if sums and zlib.crc32(value.data) != sums[key]:
        raise ValueError(f"{key}: checksum mismatch")
    return value
