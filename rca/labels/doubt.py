"""Doubt: how much a mask disagrees with a second opinion, from 0 to 1, without ground truth.

The second opinion, the witness, gives each label l a share p_l(x) of each pixel x: posteriors, or
the one-hot form of a label map. With m_l the one-hot mask,

    doubt = 1 - mean over l of  Σ_x min(m_l, p_l) / Σ_x max(m_l, p_l)

over the labels that the mask holds or that have the witness's highest share at some pixel. With a
label map as witness, the mean is the image's mIoU. With posteriors, it is the IoU to expect if they
are right, as the ratio of the expected counts.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from rca.config import IGNORE


class Witness(NamedTuple):
    """A witness's opinion of an image.

    Attributes:
        labels: The labels that the witness can give, without 255 and without repetition,
            uint8 (L,).
        shares: The share of each label in each pixel, float (L, H, W), from 0 to 1.
    """

    labels: np.ndarray
    shares: np.ndarray


def from_map(labels: np.ndarray) -> Witness:
    """Convert a label map, uint8 (H, W), to a witness with no label where the map is 255."""
    present = np.unique(labels[labels != IGNORE])
    return Witness(present, (labels == present[:, None, None]).astype(np.float32))


def agreement(mask: np.ndarray, witness: Witness) -> float:
    """Compute the mean IoU of a mask and a witness, from 0 to 1; 0 if neither has a label.

    Args:
        mask: The mask, uint8 (H, W); pixels at 255 have no label.
        witness: The witness of the same image.

    Raises:
        ValueError: The mask and the witness differ in size.
    """
    labels, shares = witness
    if shares.shape[1:] != mask.shape:
        raise ValueError(f"the mask is {mask.shape}, a witness has {shares.shape[1:]}")
    best = labels[shares.argmax(axis=0)] if len(labels) else np.empty(0, np.uint8)
    known = set(np.unique(mask).tolist()) - {IGNORE} | set(np.unique(best).tolist())
    places = {int(label): place for place, label in enumerate(labels)}
    ratios = []
    for label in sorted(known):
        inside = mask == label
        share = shares[places[label]] if label in places else np.zeros(mask.shape, np.float32)
        common = float(share[inside].sum(dtype=np.float64))
        either = float(inside.sum()) + float(share.sum(dtype=np.float64)) - common
        ratios.append(common / either)
    return min(float(np.mean(ratios)), 1.0) if ratios else 0.0
