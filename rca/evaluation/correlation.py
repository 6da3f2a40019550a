"""Rank correlation, to say how well something foretells the order of scores."""

from __future__ import annotations

import numpy as np


def spearman(first: np.ndarray, second: np.ndarray) -> float:
    """Spearman's rank correlation, from -1 to 1; ties share their mean rank.

    NaN for fewer than two values, or where all are equal.

    Args:
        first: (N,).
        second: (N,).
    """
    ranks = [_ranks(values) - (len(values) - 1) / 2 for values in (first, second)]
    spread = np.sqrt(np.prod([np.square(own).sum() for own in ranks]))
    return float((ranks[0] * ranks[1]).sum() / spread) if spread else float("nan")


def _ranks(values: np.ndarray) -> np.ndarray:
    """Ranks from 0, ties at the mean of theirs, float64 (N,)."""
    _, group, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = counts.cumsum() - 1
    return (last - (counts - 1) / 2)[group]
