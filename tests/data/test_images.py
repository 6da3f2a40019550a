"""Images and masks on disk."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from rca.data.images import DataError, read_image, read_mask, write_label_map
from rca.data.palette import voc_palette


@pytest.fixture
def photograph(tmp_path):
    path = tmp_path / "a.jpg"
    noise = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
    Image.fromarray(noise).save(path)
    return path


def test_read_image__grey_becomes_rgb(tmp_path):
    Image.new("L", (5, 3), 77).save(tmp_path / "grey.png")
    image = read_image(tmp_path / "grey.png")
    assert (image.mode, image.size) == ("RGB", (5, 3))
    assert image.getpixel((4, 2)) == (77, 77, 77)


@pytest.mark.parametrize("read", [read_image, read_mask])
def test_read__missing_file(tmp_path, read):
    with pytest.raises(DataError, match=r"none\.png: no such image"):
        read(tmp_path / "none.png")


@pytest.mark.parametrize("read", [read_image, read_mask])
@pytest.mark.parametrize("left", [0, 3, 100, 0.5, 0.9])
def test_read__truncated_file(photograph, read, left):
    content = photograph.read_bytes()
    photograph.write_bytes(content[: left if isinstance(left, int) else int(left * len(content))])
    with pytest.raises(DataError, match=r"a\.jpg: cannot be decoded .*fetch it again"):
        read(photograph)


def test_read_mask__values_as_stored_whatever_the_palette(tmp_path):
    values = np.arange(256, dtype=np.uint8).reshape(8, 32)
    for name, palette in (("voc", voc_palette()), ("black", np.zeros((256, 3)))):
        write_label_map(tmp_path / f"{name}.png", values, palette)
        assert read_mask(tmp_path / f"{name}.png").tolist() == values.tolist()
    Image.fromarray(values, mode="L").save(tmp_path / "grey.png")
    assert read_mask(tmp_path / "grey.png").tolist() == values.tolist()


@pytest.mark.parametrize("few", [1, 2, 3, 15])
def test_read_mask__few_values(tmp_path, few):
    # Few values may be packed into fewer than 8 bits a pixel.
    values = np.arange(35, dtype=np.uint8).reshape(5, 7) % few
    image = Image.fromarray(values, mode="P")
    image.putpalette(voc_palette()[:few].tobytes())
    image.save(tmp_path / "few.png", optimize=True)
    assert read_mask(tmp_path / "few.png").tolist() == values.tolist()


def test_read_mask__colours_are_refused(photograph):
    with pytest.raises(DataError, match=r"a\.jpg: a mask must be .* this is RGB"):
        read_mask(photograph)


def test_write_label_map__colours_of_the_palette(tmp_path):
    path = tmp_path / "new" / "labels.png"
    write_label_map(path, np.array([[0, 15, 255]]), voc_palette())
    image = Image.open(path)
    assert image.mode == "P"
    shown = [image.convert("RGB").getpixel((x, 0)) for x in range(3)]
    assert shown == [(0, 0, 0), (192, 128, 128), (224, 224, 192)]
    assert [path.name for path in path.parent.iterdir()] == ["labels.png"]


def test_write_label_map__same_labels_same_bytes(tmp_path):
    labels = np.random.default_rng(0).integers(0, 7, (30, 20), dtype=np.uint8)
    for name in ("one", "two"):
        write_label_map(tmp_path / name, labels, voc_palette())
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
