"""Saliency maps: those that are missing are named, those that do not fit refused."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from rca.data.images import DataError
from rca.data.index import Record
from rca.data.saliency import read_saliency, require_saliency


@pytest.fixture
def record(tmp_path) -> Record:
    file = tmp_path / "a.png"
    Image.fromarray(np.array([[0, 51, 255]], np.uint8)).save(file)
    return Record("a", "train", tmp_path / "a.jpg", None, file, 3, 1, ("cat",))


def test_read_saliency__goes_from_0_to_1(record):
    saliency = read_saliency(record)
    assert saliency.dtype == np.float32
    np.testing.assert_allclose(saliency, [[0, 0.2, 1]], atol=1e-7)


def test_read_saliency__of_another_size_is_refused(record):
    with pytest.raises(DataError, match=r"a\.png: 3 × 1 pixels, the image has 3 × 2; resize"):
        read_saliency(replace(record, height=2))


def test_require_saliency__names_the_first_few_without(record):
    without = [replace(record, image=name, saliency=None) for name in "bcdef"]
    require_saliency([record], "no: matter")
    with pytest.raises(
        DataError, match=r"^2 of 3 training images .* \(b, c\); .* or set readout.saliency: false$"
    ):
        require_saliency([record, *without[:2]], "readout.saliency: false")
    with pytest.raises(DataError, match=r"^5 of 6 training images .* \(b, c, d, …\); add"):
        require_saliency([record, *without], "readout.saliency: false")
