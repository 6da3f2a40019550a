"""The CAM store: present classes only, 8 or 16 bit, many images a file.

A shard is a safetensors file with two tensors per image: `<image>.cams`, (N, h, w), and
`<image>.classes`, (N,), the 0-based classes they belong to; its metadata has the checksum of each.
COCO's 80 float32 maps of an image
take 100 MB; this takes tens of kB.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from rca.data.images import DataError, whole
from rca.data.index import Index, Record, in_pieces
from rca.runtime.files import new_file

AGAIN = "run the stage that made it again"
CHECKSUMS = "crc32"  # of each tensor
DTYPES: dict[int, type[np.uint8 | np.uint16]] = {8: np.uint8, 16: np.uint16}


class CamShard:
    """Collects the CAMs of some images, then writes them as one file."""

    def __init__(self, bits: int) -> None:
        self.dtype = DTYPES[bits]
        self.tensors: dict[str, np.ndarray] = {}

    def add(self, image: str, classes: np.ndarray, cams: np.ndarray) -> None:
        """Keep `cams`, (N, h, w) with values from 0 to 1, of `classes`, (N,)."""
        top = np.iinfo(self.dtype).max
        # In C order: safetensors writes memory as it lies, and a view's axes would be mixed up.
        self.tensors[f"{image}.cams"] = np.rint(cams * top).astype(self.dtype, order="C")
        self.tensors[f"{image}.classes"] = classes.astype(np.uint8)

    def write(self, path: Path) -> None:
        """Write all images to `path`, whole or not at all."""
        sums = {key: zlib.crc32(value.data) for key, value in self.tensors.items()}
        with new_file(path) as partial:
            save_file(self.tensors, partial, {CHECKSUMS: json.dumps(sums)})


def is_shard(path: Path, images: Sequence[str]) -> bool:
    """Whether `path` is a whole shard of these images, as `CamShard` writes it."""
    return holds(path, images, ("cams", "classes"))


def holds(path: Path, images: Sequence[str], parts: Sequence[str]) -> bool:
    """Whether `path` is a whole safetensors file of just `<image>.<part>`, for all of both."""
    try:
        with safe_open(path, framework="numpy") as file:  # refuses a file that is cut short
            keys = set(file.keys())
    except (OSError, SafetensorError):
        return False
    return keys == {f"{image}.{part}" for image in images for part in parts}


def store_files(data: Index, size: int) -> dict[str, Sequence[Record]]:
    """Files of the stores of both splits, training images first, with the images of each.

    Args:
        data: the index.
        size: images in a file at most.
    """
    return {
        f"{split}/cams-{number:05d}.safetensors": records
        for split in ("train", "val")
        for number, records in enumerate(in_pieces(data.split(split), size))
    }


class CamStore:
    """Reads the CAMs of one shard or of a folder of them, one image at a time."""

    def __init__(self, source: Path) -> None:
        self.files: dict[str, Path] = {}
        for path in [source] if source.is_file() else sorted(source.glob("*.safetensors")):
            with whole(path, AGAIN), safe_open(path, framework="numpy") as shard:
                keys = shard.keys()
                names = (key.removesuffix(".cams") for key in keys if key.endswith(".cams"))
                self.files.update(dict.fromkeys(names, path))
        if not self.files:
            raise DataError(f"{source}: holds no CAMs; run `rca infer-cam` first")

    def __iter__(self) -> Iterator[str]:
        return iter(self.files)

    def read(self, image: str) -> tuple[np.ndarray, np.ndarray]:
        """Classes, (N,) 0-based, and CAMs, float32 (N, h, w) from 0 to 1, of `image`.

        Raises:
            DataError: the store has no such image, or its file is damaged.
        """
        if image not in self.files:
            raise DataError(f"{image}: not in the CAM store; run `rca infer-cam` again")
        path = self.files[image]
        with whole(path, AGAIN), safe_open(path, framework="numpy") as shard:
            sums = json.loads((shard.metadata() or {}).get(CHECKSUMS, "{}"))
            cams = _checked(shard, f"{image}.cams", sums)
            classes = _checked(shard, f"{image}.classes", sums)
            return classes.astype(np.int64), cams.astype(np.float32) / np.iinfo(cams.dtype).max


def _checked(shard: safe_open, key: str, sums: Mapping[str, int]) -> np.ndarray:
    """A tensor, held against its checksum; files of before there were any have none."""
    value = shard.get_tensor(key)
    if sums and zlib.crc32(value.data) != sums[key]:
        raise ValueError(f"{key}: checksum mismatch")
    return value
