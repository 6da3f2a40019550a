"""A tiny VOC-like folder to index, and to spoil; and a browser to look at pages with."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from browser_pages import CHROMIUM, axe_script
from PIL import Image

from rca.data.images import write_label_map
from rca.data.palette import voc_palette

VOC_CLASSES = (
    "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow",
    "diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train",
    "tvmonitor",
)  # fmt: skip


@dataclass
class TinyVoc:
    """A VOC-like folder whose parts can be changed one at a time."""

    root: Path
    tags: dict[str, str] = field(default_factory=dict)
    lists: dict[str, list[str]] = field(default_factory=dict)

    def add(self, split: str, image: str, tags: str, size: tuple[int, int] = (12, 8)) -> None:
        self.tags[image] = tags
        self.lists.setdefault(split, []).append(image)
        values = [0, *(1 + VOC_CLASSES.index(tag) for tag in tags.split()), 255]
        self.write_image(image, size)
        self.write_mask(image, np.resize(np.array(values, np.uint8), size[::-1]))
        if split == "train":
            self.write_saliency(image, size)
        self.write_texts()

    def write_image(self, image: str, size: tuple[int, int]) -> None:
        path = self.root / "JPEGImages" / f"{image}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        colour = tuple(hashlib.sha256(image.encode()).digest()[:3])  # no two files alike
        Image.new("RGB", size, colour).save(path)

    def write_mask(self, image: str, values: np.ndarray) -> None:
        write_label_map(self.root / "SegmentationClassAug" / f"{image}.png", values, voc_palette())

    def write_saliency(self, image: str, size: tuple[int, int]) -> None:
        path = self.root / "saliency" / f"{image}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", size, 200).save(path)

    def write_texts(self) -> None:
        folder = self.root / "ImageSets" / "Segmentation"
        folder.mkdir(parents=True, exist_ok=True)
        for name, images in self.lists.items():
            (folder / f"{name}.txt").write_text("".join(f"{image}\n" for image in images))
        rows = [f"{image},any,{tags}\n" for image, tags in self.tags.items()]
        (self.root / "tags.csv").write_text("".join(["image,split,tags\n", *rows]))
        (self.root / "classes.txt").write_text("".join(f"{name}\n" for name in VOC_CLASSES))


@pytest.fixture
def tiny_voc(tmp_path: Path) -> TinyVoc:
    """Two training images, `cat` and `dog person`; two validation images, `cow cat` and `sofa`."""
    folder = TinyVoc(tmp_path / "voc")
    folder.add("train", "2008_02", "dog person", size=(10, 14))
    folder.add("train", "2008_01", "cat")
    folder.add("val", "2009_01", "cow cat")
    folder.add("val", "2009_02", "sofa")
    return folder


@pytest.fixture(scope="module")
def browser() -> Iterator:
    from playwright.sync_api import sync_playwright  # here: most tests need no browser

    with sync_playwright() as started:
        launched = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield launched
        launched.close()


@pytest.fixture
def visits(browser):
    """Open addresses; nothing may go wrong there, and nothing may be asked of a network."""
    contexts, faults = [], []

    def opened(address: str, size: tuple[int, int], **options):
        width, height = size
        contexts.append(browser.new_context(viewport={"width": width, "height": height}, **options))
        page = contexts[-1].new_page()
        page.set_default_timeout(30_000)  # milliseconds: other tests may share the cores
        page.on(
            "console",
            lambda message: faults.append(message.text) if message.type == "error" else None,
        )
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on(
            "request",
            lambda request: faults.append(request.url) if request.url.startswith("http") else None,
        )
        page.goto(address)
        return page

    yield opened
    for context in contexts:
        context.close()
    assert not faults


@pytest.fixture(scope="session")
def axe(request) -> str:
    """The script of axe-core."""
    return axe_script(request.config.cache.mkdir("axe"))
