"""A tiny data folder with an index and CAMs, for the stages that make label maps."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from PIL import Image

from rca.data.cam_store import CamShard
from rca.data.index import Index, Record, write_index
from rca.data.palette import voc_palette

CLASSES = ("cat", "dog")
WIDTH, HEIGHT, STRIDE = 24, 16, 4
EDGE = 10  # the object's left side; its CAM starts at 12


@dataclass
class LabelData:
    """Three training images and a validation image: background left, an object right."""

    root: Path
    records: list[Record] = field(default_factory=list)
    stored: dict[str, list[int]] = field(default_factory=dict)

    @property
    def index(self) -> Path:
        return self.root / "index"

    @property
    def cams(self) -> Path:
        return self.root / "infer_cam"

    def add(self, image: str, split: str, tags: tuple[str, ...]) -> None:
        file, saliency = self.root / f"{image}.png", self.root / f"{image}-saliency.png"
        pixels = np.full((HEIGHT, WIDTH, 3), 40, np.uint8)
        pixels[:, EDGE:] = 200
        Image.fromarray(pixels).save(file)
        Image.fromarray(pixels[..., 0]).save(saliency)
        self.records.append(Record(image, split, file, None, saliency, WIDTH, HEIGHT, tags))
        self.stored[image] = [CLASSES.index(tag) for tag in tags]

    def change(self, image: str, **values: object) -> None:
        self.records = [
            replace(record, **values) if record.image == image else record
            for record in self.records
        ]

    def cams_of(self, image: str) -> np.ndarray:
        """Weak and noisy on the left, strong on the right; each class has its own rows."""
        height, width = HEIGHT // STRIDE, WIDTH // STRIDE
        generator = np.random.default_rng(len(image))
        maps = np.zeros((len(self.stored[image]), height, width), np.float32)
        for number, rows in enumerate(np.array_split(np.arange(height), len(maps))):
            maps[number, rows, width // 2 :] = 1
        return 0.7 * maps + generator.random(maps.shape, dtype=np.float32) * 0.2

    def write(self) -> LabelData:
        nothing = np.full(256, 255, np.uint8)
        records = tuple(self.records)
        write_index(self.index, Index(self.root, CLASSES, nothing, voc_palette(), records))
        for split in ("train", "val"):
            shard = CamShard(bits=16)
            for record in self.records:
                if record.split == split:
                    image = record.image
                    shard.add(image, np.array(self.stored[image], int), self.cams_of(image))
            shard.write(self.cams / split / "cams-00000.safetensors")
        return self


def make_label_data(root: Path) -> LabelData:
    root.mkdir()
    data = LabelData(root)
    data.add("one", "train", ("cat",))
    data.add("three", "train", ("cat", "dog"))
    data.add("two", "train", ("dog",))
    data.add("unseen", "val", ("dog",))
    return data.write()


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}
