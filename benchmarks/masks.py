"""Masks from class maps, and their scores, for several measurements."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np

from rca.config import Params, PseudoLabels
from rca.data.cam_store import CamStore
from rca.data.images import read_mask
from rca.data.index import Index, Record
from rca.evaluation.confusion import confusion_matrix, mean_iou
from rca.labels.rules import best_label
from rca.labels.scores import class_scores, upsample_cams


def make_labels(
    params: Params, *, index: Path, weights: Path, cams: Path, out: Path, state: Path
) -> None:
    """Run the stages from CAMs to refined labels; finished stages are skipped.

    Args:
        params: The parameters of the stages.
        index: The folder of stage `index`.
        weights: The weights of the CAM network.
        cams: The folder of stage `infer_cam`.
        out: The folder that gets the folders `readout`, `pseudo_labels` and `crf`.
        state: The folder for partial work.
    """
    from rca.stages import crf, pseudo_labels, readout

    maps, labels, refined = (out / stage for stage in ("readout", "pseudo_labels", "crf"))
    if not maps.exists():
        readout.run(
            params.readout,
            params.compute,
            params.seed,
            index=index,
            weights=weights,
            cams=cams,
            out=maps,
            state=state,
        )
    if not labels.exists():
        pseudo_labels.run(params.pseudo_labels, index=index, maps=maps, out=labels)
    if not refined.exists():
        crf.run(
            params.crf,
            params.pseudo_labels,
            index=index,
            maps=maps,
            labels=labels,
            out=refined,
            state=state,
        )


def stored(folder: Path, record: Record) -> np.ndarray:
    """Read the label map of an image from a stage's folder, uint8 (H, W)."""
    return read_mask(folder / f"{record.image}.png")


def decided(store: CamStore, rules: PseudoLabels, record: Record) -> np.ndarray:
    """Choose the best label of an image's maps at every pixel, uint8 (H, W)."""
    classes, maps = store.read(record.image)
    maps = upsample_cams(maps, record.height, record.width)
    return best_label(class_scores(maps, rules), classes)


def miou(
    data: Index, records: Iterable[Record], labels_of: Callable[[Record], np.ndarray]
) -> float:
    """Compute the mean IoU of label maps over all pixels of the images, from 0 to 1."""
    matrix: Any = np.int64(0)
    for record in records:
        counts = confusion_matrix(data.truth(record), labels_of(record), len(data.classes))
        matrix = matrix + counts
    return mean_iou(matrix, "strict")
