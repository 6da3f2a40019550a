"""Gains between results on the same images, with intervals: both drawn on the same images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from rca.data.images import DataError, read_mask
from rca.data.index import Index, Record
from rca.evaluation.bootstrap import interval, resampled_ious
from rca.evaluation.confusion import Policy, confusion_matrix, errors
from rca.runtime.pool import ordered_map, processes_for
from rca.runtime.progress import progress

RESAMPLES, SEED = 1000, 0


@dataclass(frozen=True)
class Side:
    """The label maps of a product in one result.

    Attributes:
        folder: holds `<image>.png`.
        policy: for predicted 255.
    """

    folder: Path
    policy: Policy


@dataclass(frozen=True)
class Gains:
    """Intervals of gains in points, low and high end.

    Attributes:
        mean: of the mIoU.
        classes: of the IoU of each class, the background among them.
    """

    mean: tuple[float, float]
    classes: Mapping[str, tuple[float, float]]


def gain_intervals(data: Index, records: Sequence[Record], sides: Sequence[Side]) -> list[Gains]:
    """The gains of each side but the first over the first.

    Args:
        data: the index that `records` are of.
        records: images with a mask.
        sides: two or more.

    Raises:
        DataError: a label map is missing, or does not go with its truth.
        WorkerError: a worker process was killed.
    """
    few = replace(data, records=())  # what a worker process has no use for
    work = ((record.image, (few, record, sides)) for record in records)
    counted = progress(
        ordered_map(_count, work, processes_for(len(records))),
        len(records),
        "images held against each other",
    )
    counts = np.stack(list(counted))
    first, *others = (
        resampled_ious(counts[:, place], RESAMPLES, SEED) for place in range(len(sides))
    )
    names = ["background", *data.classes]
    gains = []
    for other in others:
        *classes, mean = (interval(values) for values in 100 * (other - first).T)
        gains.append(Gains(mean, dict(zip(names, classes, strict=True))))
    return gains


def _count(job: tuple[Index, Record, Sequence[Side]]) -> np.ndarray:
    """True positives, false positives and false negatives of an image, (sides, 3, C + 1)."""
    data, record, sides = job
    truth = data.truth(record)
    found = []
    for side in sides:
        path = side.folder / f"{record.image}.png"
        labels = read_mask(path)
        try:
            matrix = confusion_matrix(truth, labels, len(data.classes))
        except ValueError as error:
            raise DataError(f"{path} cannot be held against {record.mask}: {error}") from None
        found.append(np.stack(errors(matrix, side.policy)))
    return np.stack(found)
