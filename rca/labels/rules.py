"""From scores to a label map: the best label, and 255 where the evidence cannot be trusted.

Each rule marks pixels; `label_map` applies the rules in the order of the released code (its
`gen_labels.py`). Shapes: N classes are present, the image is H × W, and channel 0 of the scores is
the background.
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
    """Make the label map of one image, uint8 (H, W): 0 background, 1 … C classes, 255 ignored.

    Differs from the released code: a class without scores is an error; there it becomes a map of
    NaN, and argmax assigns the whole image to that class.

    Args:
        scores: The CAM scores or CRF posteriors, (N + 1, H, W), the background first.
        classes: The 0-based classes of channels 1 … N, (N,).
        rules: The thresholds of the rules; those on saliency apply only with
            `background: saliency`.
        cams: The CAMs before any refinement, (N, H, W), for the saliency rule.
        saliency: The saliency map, (H, W), from 0 to 1, for the saliency rule.

    Raises:
        ValueError: Scores and classes do not match, a score is not finite, or a map is missing.
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
    # Without a tag the content is unknown: it may belong to a class that was not chosen.
    if not len(classes) or foreground_share(labels) < rules.min_foreground:
        labels[:] = IGNORE
    return labels


def best_label(scores: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """Find the label with the highest score, uint8 (H, W); in a tie the first channel wins."""
    values = np.concatenate([[0], classes + 1]).astype(np.uint8)
    return values[scores.argmax(axis=0)]


def conflicting(scores: np.ndarray, threshold: float) -> np.ndarray:
    """Mark where more than one score, including the background's, is above `threshold`, (H, W).

    Posteriors sum to 1, so at a threshold of 0.5 or more this marks none of them, unless saliency
    has replaced the background's.
    """
    return (scores > threshold).sum(axis=0) > 1


def undecided(scores: np.ndarray, margin: float) -> np.ndarray:
    """Mark where the best class is within less than `margin` of the background, (H, W).

    Not in the released code.
    """
    best = scores[1:].max(axis=0, initial=0.0)
    return np.abs(best - scores[0]) < margin


def doubtful_as_background(
    cams: np.ndarray, saliency: np.ndarray, rules: PseudoLabels
) -> np.ndarray:
    """Mark where background would be doubtful, (H, W): salient, or with any confident CAM."""
    confident = (cams > rules.confident_cam).any(axis=0)
    return confident | (saliency >= rules.uncertain_saliency)


def foreground_share(labels: np.ndarray) -> float:
    """Compute the share of pixels that are labelled with a class."""
    return float(((labels != 0) & (labels != IGNORE)).mean())
