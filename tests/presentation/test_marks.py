"""Where two label maps differ."""

from __future__ import annotations

import numpy as np

from rca.presentation.marks import GAINED, LOST, MARK_PALETTE, OTHER, SAME, difference, legend

BEFORE = np.array([[1, 1, 0, 2, 255, 0]], np.uint8)
AFTER = np.array([[1, 0, 1, 1, 1, 1]], np.uint8)
TRUTH = np.array([[0, 1, 1, 0, 1, 255]], np.uint8)


def test_difference__says_who_is_right():
    found = difference(BEFORE, AFTER, TRUTH)
    assert found.dtype == np.uint8
    assert found.tolist() == [[SAME, LOST, GAINED, OTHER, GAINED, 255]]


def test_difference__without_truth_is_all_that_differs():
    assert difference(BEFORE, AFTER, None).tolist() == [[SAME, *[OTHER] * 5]]


def test_legend__has_the_colours_that_the_marks_are_drawn_in():
    for mark, entry in zip((GAINED, LOST, OTHER), legend("a", "b", truth=True), strict=True):
        assert tuple(MARK_PALETTE[mark]) == entry["colour"]
    assert [entry["text"] for entry in legend("a", "b", truth=False)] == ["they differ"]
