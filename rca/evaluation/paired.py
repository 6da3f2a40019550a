"""Gains between results, with intervals from paired resamples: the same images on both sides."""

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
        folder: the folder that holds `<image>.png`.
        policy: how pixels predicted 255 are counted.
    """

    folder: Path
    policy: Policy


@dataclass(frozen=True)
class Gains:
    """Intervals of gains in percentage points, each as its low and its high end.

    Attributes:
        mean: the interval of the mIoU's gain.
        classes: the interval of the IoU's gain of each class, including the background.
    """

    mean: tuple[float, float]
    classes: Mapping[str, tuple[float, float]]


def gain_intervals(data: Index, records: Sequence[Record], sides: Sequence[Side]) -> list[Gains]:
    """Compute the gains of each further side over the first.

    Args:
        data: the index that `records` come from.
        records: the images to compare on, each with a true mask.
        sides: two or more sides; the first is the reference.

    Raises:
        DataError: a label map is missing, or does not fit its true mask.
        WorkerError: a worker process was killed.
    """
    few = replace(data, records=())  # the worker processes do not need all records
    work = ((record.image, (few, record, sides)) for record in records)
    counted = progress(
        ordered_map(_count, work, processes_for(len(records))),
        len(records),
        "images compared",
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
    """Count an image's true positives, false positives, false negatives, (sides, 3, C + 1)."""
    data, record, sides = job
    truth = data.truth(record)
    found = []
    for side in sides:
        path = side.folder / f"{record.image}.png"
        labels = read_mask(path)
        try:
            matrix = confusion_matrix(truth, labels, len(data.classes))
        except ValueError as error:
            raise DataError(f"{path} cannot be compared with {record.mask}: {error}") from None
        found.append(np.stack(errors(matrix, side.policy)))
    return np.stack(found)
