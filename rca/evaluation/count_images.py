"""Pixel counts of many label maps, made in several processes; a part of stage `evaluate`."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np

from rca.data.cam_store import CamStore
from rca.data.images import DataError, read_mask
from rca.data.index import Index, Record, in_pieces, read_index
from rca.evaluation import sweep
from rca.evaluation.pixel_counts import Counts, Rules
from rca.evaluation.products import Product
from rca.labels.rules import best_label
from rca.labels.scores import posterior_scores, upsample_cams
from rca.runtime.pool import available_cores, ordered_map
from rca.runtime.progress import progress

log = logging.getLogger(__name__)

CHUNK = 32  # images that a worker process counts before it returns
SWEPT = "cam_seeds_train"


@dataclass(frozen=True)
class Source:
    """Where the label maps of a product come from.

    `maps` are label maps as they are. `cams` are cut at the threshold. Of `posteriors`, the highest
    decides. `background` needs no file.
    """

    kind: Literal["maps", "cams", "posteriors", "background"]
    folder: Path


@dataclass(frozen=True)
class Maps:
    """A reader of the label maps of products, by the products' names.

    Attributes:
        sources: Product → where its label maps come from.
        threshold: The background score of the CAM seeds.
        stores: The stores of those sources that are CAMs or posteriors.
    """

    sources: Mapping[str, Source]
    threshold: float
    stores: Mapping[str, CamStore]

    @classmethod
    def opened(cls, sources: Mapping[str, Source], threshold: float) -> Maps:
        """Open the stores, once for all images: it reads the names in every file of a store."""
        stores = {
            name: CamStore(source.folder)
            for name, source in sources.items()
            if source.kind in ("cams", "posteriors")
        }
        return cls(sources, threshold, stores)

    def of(self, records: Iterable[Record]) -> Maps:
        """Return a reader of some images, which is small enough for a worker process."""
        images = [record.image for record in records]
        return replace(self, stores={name: one.of(images) for name, one in self.stores.items()})

    def labels(self, name: str, record: Record) -> tuple[Path, np.ndarray]:
        """Return the label map of a product for an image, and the file that it comes from."""
        source = self.sources[name]
        if source.kind == "background":
            return record.file, np.zeros((record.height, record.width), np.uint8)
        if source.kind == "maps":
            path = source.folder / f"{record.image}.png"
            return path, read_mask(path)
        classes, maps = self.cams(name, record)
        if source.kind == "cams":
            labels = sweep.seeds(classes, maps, self.threshold)
        else:
            labels = best_label(posterior_scores(maps), classes)
        return self.stores[name].files[record.image], labels

    def cams(self, name: str, record: Record) -> tuple[np.ndarray, np.ndarray]:
        """Return the classes of an image, and their CAMs or posteriors at the image's size."""
        classes, cams = self.stores[name].read(record.image)
        return classes, upsample_cams(cams, record.height, record.width)


@dataclass(frozen=True)
class Chunk:
    """Some images of one split, with all that a worker process needs to count them."""

    data: Index  # without records
    records: tuple[Record, ...]
    maps: Maps  # of the products of the split
    rules: Rules


Counted = tuple[dict[str, Counts], np.ndarray | None]


def count_chunk(chunk: Chunk) -> Counted:
    """Count each product over the chunk's images, and the histogram of all thresholds."""
    classes = len(chunk.data.classes)
    counts = {name: Counts.none(classes) for name in chunk.maps.sources}
    histogram: np.ndarray | None = None
    for record in chunk.records:
        truth = chunk.data.truth(record)
        for name, count in counts.items():
            path, labels = chunk.maps.labels(name, record)
            try:
                count.add(record.image, truth, labels, chunk.rules)
            except ValueError as error:
                raise DataError(f"{path} cannot be compared with {record.mask}: {error}") from None
        if SWEPT in chunk.maps.sources:
            winner = sweep.winner(*chunk.maps.cams(SWEPT, record))
            levels = sweep.histogram(truth, *winner, classes)
            histogram = levels if histogram is None else histogram + levels
    return counts, histogram


def count_images(
    data: Index,
    masked: Mapping[str, Sequence[Record]],
    sources: Mapping[Product, Source],
    rules: Rules,
    threshold: float,
    processes: int,
) -> Counted:
    """Count the pixels of all products, with the same result for any number of processes.

    Args:
        data: The index.
        masked: Split → its images that have a mask.
        sources: Product → where its label maps come from.
        rules: The rules of counting.
        threshold: The background score of the CAM seeds.
        processes: The number of worker processes; 0 takes every core.

    Raises:
        DataError: A label map is missing, of another size than its truth, or holds a wrong value.
        WorkerError: A worker process was killed.
    """
    total = {product.name: Counts.none(rules.classes) for product in sources}
    histogram: np.ndarray | None = None
    chunks = [
        Chunk(replace(data, records=()), tuple(piece), maps.of(piece), rules)
        for split, records in masked.items()
        for maps in [Maps.opened(of_split(sources, split), threshold)]
        for piece in in_pieces(records, CHUNK)
    ]
    named = ((f"{chunk.records[0].image} and those after it", chunk) for chunk in chunks)
    processes = max(min(processes or available_cores(), len(chunks)), 1)
    done = ordered_map(count_chunk, named, processes)
    images = sum(len(chunk.records) for chunk in chunks)
    for _, (counts, levels) in progress(
        zip(chunks, done, strict=True),
        images,
        "images counted",
        weigh=lambda pair: len(pair[0].records),
    ):
        for name, count in counts.items():
            total[name].merge(count)
        if levels is not None:
            histogram = levels if histogram is None else histogram + levels
    return total, histogram


def of_split(sources: Mapping[Product, Source], split: str) -> dict[str, Source]:
    """Select the sources of a split's products, by the products' names."""
    return {product.name: source for product, source in sources.items() if product.split == split}


def count_folder(index: Path, split: str, predictions: Path, processes: int) -> Counts:
    """Count the label maps of any folder over the images of a split that have a mask.

    Args:
        index: The folder of the index.
        split: `train` or `val`.
        predictions: The folder of `<image>.png`, with the index's label values.
        processes: The number of worker processes; 0 takes every core.

    Raises:
        DataError: No image has a mask, or a label map cannot be compared with it.
        WorkerError: A worker process was killed.
    """
    data = read_index(index)
    masked = with_masks(data, split)
    if not masked:
        raise DataError(f"{index}: no {split} image has a true mask to score against")
    product = Product("masks", "Label maps", split, uses_tags=False)
    rules = Rules(len(data.classes), "strict", boundary=0.02)
    sources = {product: Source("maps", predictions)}
    counts, _ = count_images(
        data, {split: masked}, sources, rules, threshold=0.0, processes=processes
    )
    return counts[product.name]


def with_masks(data: Index, split: str) -> list[Record]:
    """Select the images of a split that have a mask."""
    records = data.split(split)
    masked = [record for record in records if record.mask]
    if not masked:
        log.info("%s left out: no image has a mask", split)
    elif len(masked) < len(records):
        log.info("%s: %d of %d images have a mask", split, len(masked), len(records))
    return masked
