"""Which images the report shows."""

from __future__ import annotations

import pytest

from rca.presentation.ranking import best_and_worst, evenly, extremes, spread

SCORES = {"a": 10.0, "b": 90.0, "c": 50.0, "d": 70.0, "e": 30.0}  # ranked: b d c e a


@pytest.mark.parametrize(
    ("count", "best", "worst"),
    [
        (1, "b", ""),
        (2, "b", "a"),
        (3, "bd", "a"),
        (4, "bd", "ae"),
        (5, "bdc", "ae"),
        (9, "bdc", "ae"),
    ],
)
def test_best_and_worst__from_each_end_and_no_image_twice(count, best, worst):
    assert best_and_worst(SCORES, count) == (list(best), list(worst))


def test_best_and_worst__of_nothing():
    assert best_and_worst({}, 4) == ([], [])


def test_extremes__names_what_each_image_stands_for():
    before = {"a": 60.0, "b": 85.0, "c": 50.0, "e": 50.0}  # changes: −50, +5, none, −20
    assert extremes(before, SCORES, 1) == {"b": ["best"], "a": ["worst", "most changed"]}
    assert extremes(before, SCORES, 2) == {
        "b": ["best"], "d": ["best"],
        "a": ["worst", "most changed"], "e": ["worst", "most changed"],
    }  # fmt: skip
    assert extremes({}, {"a": 10.0}, 1) == {"a": ["best"]}
    assert extremes(before, SCORES, 0) == {}


@pytest.mark.parametrize(("count", "images"), [(1, "a"), (2, "ad"), (3, "ace"), (7, "abcdef")])
def test_evenly__at_equal_distances(count, images):
    assert evenly("abcdef", count) == list(images)


def test_spread__classes_take_turns_from_the_median_of_their_better_half():
    scores = {name: float(score) for score, name in enumerate(reversed("abcdefghij"))}
    tags = dict.fromkeys("abc", ("cat",)) | {"d": ("dog", "cat"), "e": ("dog",)}
    tags |= dict.fromkeys("fghij", ("sheep",))
    # The better half is a to e. Cats: a b c d, from the middle b c a d. Dogs: d e. No sheep.
    assert spread(scores, tags, ["cat", "dog", "sheep"], 5) == list("bdcea")
    assert spread(scores, tags, ["dog", "cat", "sheep"], 2) == list("db")
    assert spread({}, {}, ["cat"], 3) == []
