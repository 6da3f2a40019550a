"""The index on disk."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from rca.data.images import DataError, write_label_map
from rca.data.index import Index, Record, read_index, write_index
from rca.data.palette import voc_palette


def record(image: str, split: str, root: Path, **changes) -> Record:
    whole = Record(
        image=image,
        split=split,
        file=root / "JPEGImages" / f"{image}.jpg",
        mask=root / "masks" / f"{image}.png",
        saliency=root / "saliency" / f"{image}.png",
        width=4,
        height=3,
        tags=("cat", "potted plant, green"),
    )
    return replace(whole, **changes)


@pytest.fixture
def index(tmp_path) -> Index:
    root = tmp_path / "data"
    mask_values = np.full(256, 255, dtype=np.uint8)
    mask_values[[0, 8, 16]] = 0, 1, 2
    return Index(
        root=root,
        classes=("cat", "potted plant, green"),
        mask_values=mask_values,
        palette=voc_palette(),
        records=(
            record("a", "train", root),
            record("b", "train", root, mask=None, saliency=None, tags=("cat",)),
            record("c", "val", root, tags=()),
        ),
    )


def test_write_index__round_trip(tmp_path, index):
    write_index(tmp_path / "index", index)
    read = read_index(tmp_path / "index")
    assert (read.root, read.classes, read.records) == (index.root, index.classes, index.records)
    for array, expected in ((read.mask_values, index.mask_values), (read.palette, index.palette)):
        assert array.dtype == np.uint8
        assert array.tolist() == expected.tolist()


def test_write_index__same_index_same_bytes(tmp_path, index):
    for folder in ("one", "two"):
        write_index(tmp_path / folder, index)
    write_index(tmp_path / "three", read_index(tmp_path / "one"))
    contents = [
        {path.name: path.read_bytes() for path in (tmp_path / folder).iterdir()}
        for folder in ("one", "two", "three")
    ]
    assert set(contents[0]) == {"index.csv", "dataset.json"}
    assert contents[0] == contents[1] == contents[2]


def test_split__its_images_in_order(index):
    assert [record.image for record in index.split("train")] == ["a", "b"]
    assert [record.image for record in index.split("val")] == ["c"]


def test_tag_vector__one_per_present_class(index):
    vectors = [index.tag_vector(record).tolist() for record in index.records]
    assert vectors == [[1, 1], [1, 0], [0, 0]]


def test_truth__translates_mask_values(index):
    write_label_map(index.records[0].mask, np.array([[0, 8, 16], [7, 255, 8]]), voc_palette())
    assert index.truth(index.records[0]).tolist() == [[0, 1, 2], [255, 255, 1]]


def test_truth__no_mask(index):
    with pytest.raises(DataError, match=r"b\.jpg: has no mask"):
        index.truth(index.records[1])


@pytest.mark.parametrize("gone", ["index.csv", "dataset.json"])
def test_read_index__missing_file(tmp_path, index, gone):
    write_index(tmp_path / "index", index)
    (tmp_path / "index" / gone).unlink()
    with pytest.raises(DataError, match=f"{gone}: no such file; run `rca index` first"):
        read_index(tmp_path / "index")
