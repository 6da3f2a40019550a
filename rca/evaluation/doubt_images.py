"""How doubtful the mask of each image is, without any truth; a part of stage `evaluate`.

The mask is the last that the pipeline makes of an image: the pseudo-label after the CRF, made with
the tags, for training, and that of the segmentation network for validation. The readout's
posteriors are the witness, or without them the CAM seeds; the agreement with both is noted.
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

LAST = {"train": "crf", "val": "network"}  # what makes the mask that is doubted
WITNESSES = ("cam_seeds", "readout")  # the later, the more is known: the last there is counts
COLUMNS = ("split", "image", "doubt", *WITNESSES)  # agreements are by witness


class Doubted(NamedTuple):
    """An image with the agreement of its mask with each witness, from 0 to 1."""

    split: str
    image: str
    agreements: Mapping[str, float]

    @property
    def doubt(self) -> float:
        """What the best witness does not bear out."""
        return 1 - [self.agreements[name] for name in WITNESSES if name in self.agreements][-1]

    def row(self) -> tuple[str, ...]:
        """The row of `COLUMNS`."""
        agreements = (self.agreements.get(name) for name in WITNESSES)
        shown = ("" if value is None else f"{value:.4f}" for value in agreements)
        return self.split, self.image, f"{self.doubt:.4f}", *shown


@dataclass(frozen=True)
class Portion:
    """Some images of one split, with all that a worker process needs to doubt them."""

    split: str
    records: Sequence[Record]
    maps: Maps


def doubt_portion(portion: Portion) -> list[Doubted]:
    """The agreements of each image."""
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
    """Every image of both splits, in the index's order; the number of processes changes nothing.

    Args:
        data: the index; truth has no part in this.
        sources: product → where its maps come from.
        threshold: background score of the CAM seeds.
        processes: worker processes; 0 takes every core.

    Raises:
        DataError: a label map is missing or of another size than its photograph.
        WorkerError: a worker process was killed.
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
        names = [f"{name}_{split}" for name in (*WITNESSES, last)]
        maps = Maps({name: sources[name] for name in names if name in sources}, threshold)
        for records in in_pieces(data.split(split), CHUNK):
            yield Portion(split, records, maps)


def foretold(
    doubted: Sequence[Doubted], ious: Mapping[str, Mapping[str, float]]
) -> dict[str, dict[str, Any]]:
    """Split → how the doubts rank with the true IoU, where there is any: Spearman's correlation.

    Args:
        doubted: of both splits.
        ious: product → image → IoU; NaN where nothing can be scored.
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
