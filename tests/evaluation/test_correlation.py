"""Spearman's rank correlation against its formula, with ties and without."""

from __future__ import annotations

import numpy as np
import pytest

from rca.evaluation.correlation import spearman


def test_spearman__equals_the_formula_without_ties():
    first = np.array([3.0, 1.0, 4.0, 2.0, 9.0])
    second = np.array([30.0, 20.0, 10.0, 40.0, 50.0])
    ranks = [
        [sum(other < value for other in values) for value in values] for values in (first, second)
    ]
    squares = sum((a - b) ** 2 for a, b in zip(*ranks, strict=True))
    assert spearman(first, second) == pytest.approx(1 - 6 * squares / (5 * 24))
    assert spearman(first, np.exp(first)) == pytest.approx(1)
    assert spearman(first, -first) == pytest.approx(-1)


def test_spearman__gives_ties_their_mean_rank():
    # Ranks 0, 1.5, 1.5, 3 and 0, 1, 2, 3: Pearson's correlation of these.
    expected = np.corrcoef([0, 1.5, 1.5, 3], [0, 1, 2, 3])[0, 1]
    assert spearman(np.array([1.0, 5, 5, 7]), np.arange(4.0)) == pytest.approx(expected)


def test_spearman__of_nothing_to_rank_is_nan():
    assert np.isnan(spearman(np.ones(3), np.arange(3.0)))
    assert np.isnan(spearman(np.ones(1), np.ones(1)))
    assert np.isnan(spearman(np.ones(0), np.ones(0)))
