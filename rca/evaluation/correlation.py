"""Rank correlation: how well something predicts the order of scores."""

from __future__ import annotations

import numpy as np


def spearman(first: np.ndarray, second: np.ndarray) -> float:
    """Compute Spearman's rank correlation, from -1 to 1; ties share their mean rank.

    It is nan for fewer than two values, or if all values of either side are equal.

    Args:
        first: The values of one side, (N,).
        second: The values of the other, (N,).
    """
    ranks = [_ranks(values) - (len(values) - 1) / 2 for values in (first, second)]
    spread = np.sqrt(np.prod([np.square(own).sum() for own in ranks]))
    return float((ranks[0] * ranks[1]).sum() / spread) if spread else float("nan")


def _ranks(values: np.ndarray) -> np.ndarray:
    """Rank values from 0, float64 (N,), with ties at their mean rank."""
    _, group, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = counts.cumsum() - 1
    return (last - (counts - 1) / 2)[group]
