"""From class maps to scores: how strongly each pixel supports the background and each class.

A class's score is its map, a CAM or a posterior, upsampled to the image. With posteriors the
background's score is the probability that they leave. With CAMs it is a constant, a power of what
they leave, or one minus the saliency. Shapes: N classes are present, and the image is H × W.
"""

from __future__ import annotations

import math

import numpy as np

from rca.config import PseudoLabels


def upsample_cams(cams: np.ndarray, height: int, width: int) -> np.ndarray:
    """Upsample CAMs, (N, h, w), to the size of the image, float32 (N, height, width).

    The interpolation is bilinear between pixel centres, as in the released code's `cv2.resize` and
    torch's `interpolate` with `align_corners=False`. It is in numpy, so that worker processes need
    not load torch.
    """
    tall = _stretch(cams.astype(np.float32, copy=False), height)  # (N, height, w)
    return _stretch(tall.swapaxes(1, 2), width).swapaxes(1, 2)  # (N, height, width)


def _stretch(maps: np.ndarray, size: int) -> np.ndarray:
    """Interpolate `maps`, (N, n, m), along their second axis, (N, size, m)."""
    last = maps.shape[1] - 1
    position = ((np.arange(size) + 0.5) * maps.shape[1] / size - 0.5).clip(0, last)
    before = position.astype(int)
    after = np.minimum(before + 1, last)
    share = (position - before).astype(np.float32)[:, None]
    return maps[:, before] * (1 - share) + maps[:, after] * share


def background_score(
    cams: np.ndarray, rules: PseudoLabels, saliency: np.ndarray | None = None
) -> np.ndarray:
    """Compute the background's score as `rules.background` defines it, float32 (H, W).

    Args:
        cams: The CAMs or posteriors, (N, H, W), from 0 to 1; N may be 0.
        rules: The kind of score, and its constant or exponent.
        saliency: The saliency map, (H, W), from 0 to 1; used only with `background: saliency`.

    Raises:
        ValueError: `background: saliency` is set, but there is no map.
    """
    if rules.background == "posterior":
        return rest_background(cams)
    if rules.background == "threshold":
        return np.full(cams.shape[1:], rules.threshold, dtype=np.float32)
    if rules.background == "power":
        return power_background(cams, rules.power)
    if saliency is None:
        raise ValueError("background: saliency needs a saliency map")
    return 1 - saliency


def class_scores(
    cams: np.ndarray, rules: PseudoLabels, saliency: np.ndarray | None = None
) -> np.ndarray:
    """Stack the scores, (N + 1, H, W): the background, then the classes in the order of `cams`."""
    return np.concatenate([background_score(cams, rules, saliency)[None], cams])


def rest_background(posteriors: np.ndarray) -> np.ndarray:
    """Compute the background's posterior from the classes': `1 - Σ_l p_l`, float32 (H, W)."""
    # Rounding and upsampling may make the sum slightly larger than 1.
    return np.maximum(1 - posteriors.sum(axis=0, dtype=np.float32), 0)


def posterior_scores(posteriors: np.ndarray) -> np.ndarray:
    """Stack posteriors, (N, H, W), behind the background's, as scores, (N + 1, H, W)."""
    return np.concatenate([rest_background(posteriors)[None], posteriors])


def power_background(cams: np.ndarray, power: float) -> np.ndarray:
    """Compute the background's score `(1 - max_l cam_l)^power`, float32 (H, W)."""
    # Upsampling may round a CAM to slightly over 1, and a power of a negative number is NaN.
    left = np.maximum(1 - cams.max(axis=0, initial=0.0), 0)
    return left ** np.float32(power)


def crf_scores(cams: np.ndarray, rules: PseudoLabels) -> np.ndarray:
    """Compute the scores that a CRF starts from, (N + 1, H, W), the background first.

    A CRF weighs smoothness against the *ratios* of the scores. With a constant background these
    ratios stay small (a CAM of 1 leads a threshold of 0.25 by no more than 4 to 1), and objects are
    smoothed away. So the background's score here is always `(1 - max_l cam_l)^power`. With
    `threshold`, the power is chosen so that the score equals the CAM at the threshold: the best
    labels are those of `class_scores`, with more confidence the farther a CAM is from the
    threshold. With `saliency`, the saliency map plays no part in the CRF, as in the released code.
    Posteriors need none of this and are passed to the CRF unchanged.
    """
    if rules.background == "posterior":
        return posterior_scores(cams)
    power = rules.power
    if rules.background == "threshold":
        power = matching_power(rules.threshold)
    return np.concatenate([power_background(cams, power)[None], cams])


def matching_power(threshold: float) -> float:
    """Solve `(1 - threshold)^p = threshold` for the power p: 4.8 for 0.25, 1 for 0.5."""
    inside = min(max(threshold, 1e-6), 1 - 1e-6)
    return math.log(inside) / math.log(1 - inside)
