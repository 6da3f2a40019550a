"""The evaluators in use, as named protocols: what each would say of the same masks.

They differ in two things: how a pixel predicted 255 is treated, and which classes the mean is
over. On masks without 255 and with every class present they all agree. Each was read from its
source; nothing here is copied. All see only the pixels that count, whose truth is not 255; the
development kit alone would stop at a predicted 255 on other pixels too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from rca.config import IGNORE
from rca.evaluation.confusion import iou, mean_present, ratio


@dataclass(frozen=True)
class Evaluator:
    """A published way to compute mIoU.

    Attributes:
        name: The key in `metrics.json`.
        where: The repositories and files that do it.
        uncertain: The treatment of a pixel predicted 255.
        mean: The classes that the mean is over.
        score: A function from a confusion matrix, int64 (C + 1, C + 2), to the mIoU from 0 to 1,
            nan where the evaluator gives nan. It raises ValueError where the evaluator stops with
            an error.
    """

    name: str
    where: str
    uncertain: str
    mean: str
    score: Callable[[np.ndarray], float]


def _voc_devkit(matrix: np.ndarray) -> float:
    if matrix[:, -1].any():
        raise ValueError(f"refuses masks that hold {IGNORE}")
    return float(iou(matrix, "strict").mean())


def _seam(matrix: np.ndarray) -> float:
    return float(np.nan_to_num(iou(matrix, "strict")).mean())


def _irn(matrix: np.ndarray) -> float:
    return mean_present(iou(matrix, "background"))


def _eps(matrix: np.ndarray) -> float:
    return mean_present(iou(matrix, "excluded"))


def _toco(matrix: np.ndarray) -> float:
    return mean_present(iou(matrix, "excluded")[matrix[:, :-1].any(axis=1)])


def _deeplab_pytorch(matrix: np.ndarray) -> float:
    histogram = _overflowing_histogram(matrix)
    return mean_present(_histogram_iou(histogram))


def _clip_es(matrix: np.ndarray) -> float:
    histogram = _overflowing_histogram(matrix)
    return mean_present(_histogram_iou(histogram)[histogram.any(axis=1)])


def _overflowing_histogram(matrix: np.ndarray) -> np.ndarray:
    """Build the histogram over n · truth + prediction: 255 lands in another row and column."""
    classes = len(matrix)
    histogram = matrix[:, :-1].copy()
    for label in np.flatnonzero(matrix[:, -1]):
        cell = classes * label + IGNORE
        if cell >= classes**2:
            raise ValueError(f"crashes on a pixel of label {label} that is predicted {IGNORE}")
        histogram.flat[cell] += matrix[label, -1]
    return histogram


def _histogram_iou(histogram: np.ndarray) -> np.ndarray:
    hits = np.diagonal(histogram)
    return ratio(hits, histogram.sum(axis=0) + histogram.sum(axis=1) - hits)


EVALUATORS = (
    Evaluator(
        "voc_devkit",
        "VOCdevkit VOCevalseg.m, the VOC server",
        "an error",
        "all classes, nan if one is in neither map",
        _voc_devkit,
    ),
    Evaluator(
        "seam",
        "SEAM evaluation.py; MCTformer",
        "a miss",
        "all classes, one in neither map as 0",
        _seam,
    ),
    Evaluator(
        "irn",
        "IRN step/eval_sem_seg.py",
        "background",
        "classes in either map",
        _irn,
    ),
    Evaluator(
        "eps",
        "EPS evaluate_png.py, L2G scripts/evaluate_mthr_voc.py",
        "left out",
        "classes in either map",
        _eps,
    ),
    Evaluator(
        "toco",
        "ToCo utils/evaluate.py, pseudo_scores",
        "left out",
        "classes in the truth",
        _toco,
    ),
    Evaluator(
        "deeplab_pytorch",
        "deeplab-pytorch libs/utils/metric.py",
        "counted in a wrong cell, or a crash",
        "classes in either map",
        _deeplab_pytorch,
    ),
    Evaluator(
        "clip_es",
        "CLIP-ES eval_cam_with_crf.py, ToCo utils/evaluate.py, scores",
        "counted in a wrong cell, or a crash",
        "classes in the truth",
        _clip_es,
    ),
)


def verdicts(matrix: np.ndarray) -> dict[str, Mapping[str, Any]]:
    """Compute evaluator → `miou` in percent, or None and, as `why`, what stops it."""
    return {evaluator.name: _verdict(evaluator, matrix) for evaluator in EVALUATORS}


def _verdict(evaluator: Evaluator, matrix: np.ndarray) -> dict[str, Any]:
    try:
        score = evaluator.score(matrix)
    except ValueError as error:
        return {"miou": None, "why": str(error)}
    if np.isnan(score):
        return {"miou": None, "why": "a class is in neither truth nor prediction"}
    return {"miou": round(100 * score, 4)}
