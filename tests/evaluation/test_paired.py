"""Intervals of the gain between two results on the same images."""

from __future__ import annotations

import numpy as np
import pytest
from tiny_results import write_results

from rca.data.images import DataError, write_label_map
from rca.data.index import read_index
from rca.data.palette import voc_palette
from rca.evaluation import paired
from rca.evaluation.bootstrap import interval, resampled_ious
from rca.evaluation.confusion import confusion_matrix, errors
from rca.evaluation.paired import Side, gain_intervals


@pytest.fixture
def data(tmp_path):
    return read_index(write_results(tmp_path) / "index")


def sides(data, folder, *makers):
    """A folder of label maps for each function from truth to prediction."""
    for number, make in enumerate(makers):
        for record in data.split("train"):
            made = make(data.truth(record))
            write_label_map(folder / f"{number}/{record.image}.png", made, voc_palette())
    return [Side(folder / str(number), "strict") for number in range(len(makers))]


def right(truth):
    return np.where(truth == 255, 0, truth)


def half(truth):
    """Cats in the lower row alone."""
    made = right(truth)
    made[:1] = 0
    return made


def test_gain_intervals__of_the_same_masks_are_nothing(data, tmp_path):
    (gains,) = gain_intervals(data, data.split("train"), sides(data, tmp_path / "m", half, half))
    assert gains.mean == (0, 0) and gains.classes["cat"] == (0, 0)


def test_gain_intervals__are_of_resamples_drawn_together(data, tmp_path):
    records = data.split("train")
    (gains,) = gain_intervals(data, records, sides(data, tmp_path / "m", half, right))
    counts = [
        np.stack(
            [
                np.stack(
                    errors(confusion_matrix(data.truth(one), make(data.truth(one)), 2), "strict")
                )
                for one in records
            ]
        )
        for make in (half, right)
    ]
    before, after = (resampled_ious(c, paired.RESAMPLES, paired.SEED) for c in counts)
    assert gains.mean == pytest.approx(interval(100 * (after - before)[:, -1]))
    assert gains.classes["cat"] == pytest.approx((50, 50))  # in each resample with the cat
    assert list(gains.classes) == ["background", "cat", "dog"]


def test_gain_intervals__name_a_mask_that_is_missing_or_of_another_size(data, tmp_path):
    found = sides(data, tmp_path / "m", right, right)
    write_label_map(tmp_path / "m/1/a.png", np.zeros((1, 1), np.uint8), voc_palette())
    with pytest.raises(DataError, match=r"m/1/a\.png cannot be compared with"):
        gain_intervals(data, data.split("train"), found)
    (tmp_path / "m/1/a.png").unlink()
    with pytest.raises(DataError, match=r"m/1/a\.png"):
        gain_intervals(data, data.split("train"), found)
