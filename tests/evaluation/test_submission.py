"""The archive for VOC's server, unpacked again and looked at."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from rca.data.images import DataError, write_label_map
from rca.data.palette import voc_palette
from rca.evaluation.submission import pack_submission

NAMES = ("2008_000006", "2008_000011")
MASKS = {
    NAMES[0]: np.array([[0, 1, 20], [15, 15, 0]], np.uint8),
    NAMES[1]: np.array([[7], [0]], np.uint8),
}


@pytest.fixture
def folders(tmp_path) -> dict[str, Path]:
    folders = {"photographs": tmp_path / "JPEGImages", "predictions": tmp_path / "masks"}
    folders["photographs"].mkdir()
    for name, labels in MASKS.items():
        write_label_map(folders["predictions"] / f"{name}.png", labels, voc_palette())
        Image.new("RGB", labels.shape[::-1]).save(folders["photographs"] / f"{name}.jpg")
    return folders


def pack(folders, out, images=NAMES) -> Path:
    pack_submission(out, images=images, **folders, competition="comp6")
    return out


def test_pack_submission__holds_the_servers_tree_of_palette_images(folders, tmp_path):
    with tarfile.open(pack(folders, tmp_path / "s.tar.gz")) as archive:
        content = {entry.name: archive.extractfile(entry).read() for entry in archive}
    root = "results/VOC2012/Segmentation/comp6_test_cls"
    assert list(content) == [f"{root}/{name}.png" for name in NAMES]
    for name, labels in MASKS.items():
        image = Image.open(io.BytesIO(content[f"{root}/{name}.png"]))
        assert image.mode == "P"
        np.testing.assert_array_equal(np.asarray(image), labels)
        colours = np.asarray(image.convert("RGB"))
        np.testing.assert_array_equal(colours, voc_palette()[labels])


def test_pack_submission__same_masks_same_bytes_grey_or_not(folders, tmp_path):
    first = pack(folders, tmp_path / "first.tgz").read_bytes()
    for name, labels in MASKS.items():
        Image.fromarray(labels).save(folders["predictions"] / f"{name}.png")
    assert pack(folders, tmp_path / "second.tgz").read_bytes() == first


def spoil_size(path: Path) -> None:
    write_label_map(path, np.zeros((5, 4), np.uint8), voc_palette())


def spoil_value(path: Path) -> None:
    write_label_map(path, np.full((2, 3), 255, np.uint8), voc_palette())


def spoil_palette(path: Path) -> None:
    write_label_map(path, MASKS[NAMES[0]], voc_palette()[::-1])


def spoil_mode(path: Path) -> None:
    Image.new("RGB", (3, 2)).save(path)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (Path.unlink, "missing"),
        (spoil_size, "is 4 × 5, the photograph is 3 × 2"),
        (spoil_value, "holds 255; allowed are 0 to 20"),
        (spoil_palette, "its palette is not VOC's"),
        (spoil_mode, "a mask must be a palette or grey image, this is RGB"),
    ],
)
def test_pack_submission__refuses_what_the_server_would_refuse(folders, tmp_path, spoil, message):
    spoil(folders["predictions"] / f"{NAMES[0]}.png")
    with pytest.raises(DataError, match=rf"{NAMES[0]}\.png: {message}"):
        pack(folders, tmp_path / "s.tar.gz")
    assert not list(tmp_path.glob("*s.tar.gz*"))


def test_pack_submission__refuses_another_kind_of_archive_and_an_empty_list(folders, tmp_path):
    with pytest.raises(DataError, match="name it so"):
        pack(folders, tmp_path / "s.zip")
    with pytest.raises(DataError, match="is empty"):
        pack(folders, tmp_path / "s.tgz", images=())
