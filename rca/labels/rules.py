"""From scores to a label map: the best label, and 255 where the evidence cannot be trusted.

Each rule marks pixels, `label_map` applies them in the released code's order (its `gen_labels.py`).
Letters: N classes present, H × W the image; channel 0 of the scores is the background.
"""

from __future__ import annotations

import numpy as np

from rca.config import IGNORE, PseudoLabels


def label_map(
    scores: np.ndarray,
    classes: np.ndarray,
    rules: PseudoLabels,
    *,
    cams: np.ndarray | None = None,
    saliency: np.ndarray | None = None,
) -> np.ndarray:
    """Labels of one image, uint8 (H, W): 0 background, 1 … C classes, 255 not to be trained on.

    Args:
        scores: (N + 1, H, W), CAM scores or CRF posteriors, the background first.
        classes: (N,) 0-based classes of channels 1 … N.
        rules: thresholds of the rules; those on saliency apply with `background: saliency` only.
        cams: (N, H, W) CAMs before any refinement, for the saliency rule.
        saliency: (H, W) from 0 to 1, for the saliency rule.

    Differs from the released code: a class without scores is an error; there it becomes a map of
    NaN, and argmax gives the whole image that class.

    Raises:
        ValueError: scores and classes do not match, a score is not finite, or a map is missing.
    """
    if len(scores) != len(classes) + 1:
        raise ValueError(f"{len(classes)} classes need one score more, there are {len(scores)}")
    if not np.isfinite(scores).all():
        raise ValueError("the scores hold NaN or infinity")
    labels = best_label(scores, classes)
    uncertain = conflicting(scores, rules.conflict_threshold)
    uncertain |= undecided(scores, rules.uncertain_margin)
    if rules.background == "saliency":
        if cams is None or saliency is None:
            raise ValueError("background: saliency needs the CAMs and a saliency map")
        striking = doubtful_as_background(cams, saliency, rules)
        uncertain |= (labels == 0) & striking
    labels[uncertain] = IGNORE
    # Without a tag nobody knows what is there: it may well be of a class that was not chosen.
    if not len(classes) or foreground_share(labels) < rules.min_foreground:
        labels[:] = IGNORE
    return labels


def best_label(scores: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """The label of the highest score, uint8 (H, W); ties go to the background, then in order."""
    values = np.concatenate([[0], classes + 1]).astype(np.uint8)
    return values[scores.argmax(axis=0)]


def conflicting(scores: np.ndarray, threshold: float) -> np.ndarray:
    """Where more than one score, the background's included, is above `threshold`, (H, W).

    Posteriors sum to 1, so this marks nothing on them unless saliency took the background's place.
    """
    return (scores > threshold).sum(axis=0) > 1


def undecided(scores: np.ndarray, margin: float) -> np.ndarray:
    """Where the best class leads or trails the background by less than `margin`, (H, W).

    Not in the released code.
    """
    best = scores[1:].max(axis=0, initial=0.0)
    return np.abs(best - scores[0]) < margin


def doubtful_as_background(
    cams: np.ndarray, saliency: np.ndarray, rules: PseudoLabels
) -> np.ndarray:
    """Where background would be doubtful: salient, or a confident CAM of any class, (H, W)."""
    confident = (cams > rules.confident_cam).any(axis=0)
    return confident | (saliency >= rules.uncertain_saliency)


def foreground_share(labels: np.ndarray) -> float:
    """Share of the pixels that carry a class."""
    return float(((labels != 0) & (labels != IGNORE)).mean())
