"""From class maps to scores: what each pixel says for the background and for each class present.

A class scores its map, a CAM or a posterior, upsampled to the image. The background scores what the
posteriors leave; with CAMs a constant, what they leave, or what a saliency map calls dull. Letters:
N classes present, H × W the image.
"""

from __future__ import annotations

import math

import numpy as np

from rca.config import PseudoLabels


def upsample_cams(cams: np.ndarray, height: int, width: int) -> np.ndarray:
    """CAMs (N, h, w) at the image's size, float32 (N, height, width).

    Bilinear between pixel centres, as the released code's `cv2.resize` and torch's `interpolate`
    with `align_corners=False`; in numpy, so that worker processes need not load torch.
    """
    tall = _stretch(cams.astype(np.float32, copy=False), height)  # (N, height, w)
    return _stretch(tall.swapaxes(1, 2), width).swapaxes(1, 2)  # (N, height, width)


def _stretch(maps: np.ndarray, size: int) -> np.ndarray:
    """`maps` (N, n, m) as (N, size, m)."""
    last = maps.shape[1] - 1
    position = ((np.arange(size) + 0.5) * maps.shape[1] / size - 0.5).clip(0, last)
    before = position.astype(int)
    after = np.minimum(before + 1, last)
    share = (position - before).astype(np.float32)[:, None]
    return maps[:, before] * (1 - share) + maps[:, after] * share


def background_score(
    cams: np.ndarray, rules: PseudoLabels, saliency: np.ndarray | None = None
) -> np.ndarray:
    """Score of the background as `rules.background` defines it, float32 (H, W).

    Args:
        cams: CAMs or posteriors, (N, H, W) from 0 to 1, N may be 0.
        rules: which score, and its constant or exponent.
        saliency: (H, W) from 0 to 1; only read for `saliency`.

    Raises:
        ValueError: `saliency` is asked for and there is no map.
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
    """Scores (N + 1, H, W), the background first, then the classes in the order of `cams`."""
    return np.concatenate([background_score(cams, rules, saliency)[None], cams])


def rest_background(posteriors: np.ndarray) -> np.ndarray:
    """`1 - Σ_l p_l`, float32 (H, W): the background's posterior, given those of the classes."""
    # Rounding and upsampling may take the sum a little over 1.
    return np.maximum(1 - posteriors.sum(axis=0, dtype=np.float32), 0)


def posterior_scores(posteriors: np.ndarray) -> np.ndarray:
    """Scores (N + 1, H, W) of posteriors (N, H, W): what they leave for the background, first."""
    return np.concatenate([rest_background(posteriors)[None], posteriors])


def power_background(cams: np.ndarray, power: float) -> np.ndarray:
    """`(1 - max_l cam_l)^power`, float32 (H, W): what no class claims."""
    # Upsampling may round a CAM to a little over 1, and powers of what is below 0 are NaN.
    left = np.maximum(1 - cams.max(axis=0, initial=0.0), 0)
    return left ** np.float32(power)


def crf_scores(cams: np.ndarray, rules: PseudoLabels) -> np.ndarray:
    """Scores (N + 1, H, W) for a CRF to start from, the background first.

    A CRF weighs its smoothness against the *ratios* of the scores. A constant background is never
    sure of a foreground (a CAM of 1 leads a threshold of 0.25 by no more than 4 to 1), and objects
    are smoothed away. So the background here is always `(1 - max_l cam_l)^power`. With `threshold`,
    the power is the one that meets the CAM at the threshold: the best labels are those of
    `class_scores`, and the surer the farther a CAM is from the threshold. With `saliency`, the map
    has no part in the CRF, as in the released code. Posteriors need none of this: they go to the
    CRF as they are.
    """
    if rules.background == "posterior":
        return posterior_scores(cams)
    power = rules.power
    if rules.background == "threshold":
        power = matching_power(rules.threshold)
    return np.concatenate([power_background(cams, power)[None], cams])


def matching_power(threshold: float) -> float:
    """The power p with `(1 - threshold)^p = threshold`: 4.8 for 0.25, 1 for 0.5."""
    inside = min(max(threshold, 1e-6), 1 - 1e-6)
    return math.log(inside) / math.log(1 - inside)
