"""How doubtful the mask of each image is, without any ground truth; a part of stage `evaluate`.

The mask is the last one that the pipeline makes of an image. For training images it is the
pseudo-label after the CRF, made with the tags; for validation images it is the mask of the
segmentation network. The witness is the readout's posteriors or, without them, the CAM seeds; the
agreement with both is recorded.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from rca.data.images import DataError
from rca.data.index import MasklessIndex, Record, in_pieces
from rca.evaluation.correlation import spearman
from rca.evaluation.count_images import CHUNK, Maps, Source
from rca.labels.doubt import Witness, agreement, from_map
from rca.labels.scores import posterior_scores
from rca.runtime.pool import available_cores, ordered_map
from rca.runtime.progress import progress

LAST = {"train": "crf", "val": "network"}  # split → the product whose masks are rated
WITNESSES = ("cam_seeds", "readout")  # from the least to the best informed: the last one counts
COLUMNS = ("split", "image", "doubt", *WITNESSES)  # an agreement for each witness


class Doubted(NamedTuple):
    """An image with the agreement of its mask with each witness, from 0 to 1."""

    split: str
    image: str
    agreements: Mapping[str, float]

    @property
    def doubt(self) -> float:
        """The disagreement of the mask with the best witness, from 0 to 1."""
        return 1 - [self.agreements[name] for name in WITNESSES if name in self.agreements][-1]

    def row(self) -> tuple[str, ...]:
        """Return the row of `COLUMNS`."""
        agreements = (self.agreements.get(name) for name in WITNESSES)
        shown = ("" if value is None else f"{value:.4f}" for value in agreements)
        return self.split, self.image, f"{self.doubt:.4f}", *shown


@dataclass(frozen=True)
class Portion:
    """Some images of one split, with all that a worker process needs to rate their doubt."""

    split: str
    records: Sequence[Record]
    maps: Maps


def doubt_portion(portion: Portion) -> list[Doubted]:
    """Compute the agreements of each image."""
    maps, split = portion.maps, portion.split
    found = []
    for record in portion.records:
        path, mask = maps.labels(f"{LAST[split]}_{split}", record)
        agreements = {}
        for name in WITNESSES:
            if f"{name}_{split}" in maps.sources:
                witness = _witness(maps, f"{name}_{split}", record)
                try:
                    agreements[name] = agreement(mask, witness)
                except ValueError as error:
                    raise DataError(f"{path} does not fit {record.file}: {error}") from None
        found.append(Doubted(split, record.image, agreements))
    return found


def _witness(maps: Maps, product: str, record: Record) -> Witness:
    if maps.sources[product].kind != "posteriors":
        return from_map(maps.labels(product, record)[1])
    classes, posteriors = maps.cams(product, record)
    labels = np.concatenate([[0], classes + 1]).astype(np.uint8)
    return Witness(labels, posterior_scores(posteriors))


def doubt_images(
    data: MasklessIndex, sources: Mapping[str, Source], threshold: float, processes: int
) -> list[Doubted]:
    """Rate every image of both splits, in the index's order, the same for any number of processes.

    Args:
        data: The index; the ground truth has no part in this.
        sources: Product → where its maps come from.
        threshold: The background score of the CAM seeds.
        processes: The number of worker processes; 0 takes every core.

    Raises:
        DataError: A label map is missing or of another size than its photograph.
        WorkerError: A worker process was killed.
    """
    portions = list(_portions(data, sources, threshold))
    named = ((f"{portion.records[0].image} and those after it", portion) for portion in portions)
    processes = max(min(processes or available_cores(), len(portions)), 1)
    done = ordered_map(doubt_portion, named, processes)
    images = sum(len(portion.records) for portion in portions)
    shown = progress(done, images, "masks set beside their evidence", weigh=len)
    return [doubted for portion in shown for doubted in portion]


def _portions(
    data: MasklessIndex, sources: Mapping[str, Source], threshold: float
) -> Iterator[Portion]:
    for split, last in LAST.items():
        if not data.split(split):
            continue
        names = [f"{name}_{split}" for name in (*WITNESSES, last)]
        maps = Maps.opened({name: sources[name] for name in names if name in sources}, threshold)
        for records in in_pieces(data.split(split), CHUNK):
            yield Portion(split, records, maps.of(records))


def foretold(
    doubted: Sequence[Doubted], ious: Mapping[str, Mapping[str, float]]
) -> dict[str, dict[str, Any]]:
    """Compute split → the rank correlation (Spearman's) of doubt and true IoU, where there is any.

    Args:
        doubted: The images of both splits.
        ious: Product → image → IoU; nan where nothing can be scored.
    """
    found = {}
    for split, last in LAST.items():
        scored = ious.get(f"{last}_{split}", {})
        pairs = [
            (one.doubt, scored[one.image])
            for one in doubted
            if one.split == split and not np.isnan(scored.get(one.image, np.nan))
        ]
        if pairs:
            rank = spearman(*np.transpose(pairs))
            found[split] = {
                "product": f"{last}_{split}",
                "images": len(pairs),
                "rank_correlation_with_iou": None if np.isnan(rank) else round(rank, 4),
            }
    return found
