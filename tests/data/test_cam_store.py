"""The CAM store: what goes in comes out, to half a step of its bits."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rca.data import cam_store
from rca.data.cam_store import CamShard, CamStore
from rca.data.images import DataError

STEPS = {8: 255, 16: 65535}


def written(folder, bits, **images):
    shard = CamShard(bits)
    for name, (classes, cams) in images.items():
        shard.add(name, np.array(classes), cams)
    shard.write(folder / f"cams-{len(list(folder.glob('*'))):05}.safetensors")
    return CamStore(folder)


@pytest.mark.parametrize("bits", [8, 16])
def test_round_trip__within_half_a_step(tmp_path, bits):
    rng = np.random.default_rng(bits)
    cams = rng.random((3, 9, 7), dtype=np.float32)
    classes, read = written(tmp_path, bits, a=([4, 0, 19], cams)).read("a")
    assert classes.tolist() == [4, 0, 19] and classes.dtype == np.int64
    assert read.shape == (3, 9, 7) and read.dtype == np.float32
    error = np.abs(read.astype(float) - cams).max()
    assert 0 < error <= 0.5 / STEPS[bits] + 1e-7


def test_round_trip__of_a_view_with_its_axes_moved(tmp_path):
    last = np.random.default_rng(0).random((9, 7, 3), dtype=np.float32)
    cams = np.moveaxis(last, -1, 0)
    _, read = written(tmp_path, 16, a=([0, 1, 2], cams)).read("a")
    np.testing.assert_allclose(read, cams, atol=1e-5)


@pytest.mark.parametrize("bits", [8, 16])
def test_round_trip__stored_values_are_exact(tmp_path, bits):
    steps = STEPS[bits]
    values = np.array([0, 1, steps // 2, steps - 1, steps]) / steps
    cams = values.astype(np.float32).reshape(1, 1, 5)
    _, once = written(tmp_path, bits, a=([0], cams)).read("a")
    assert once[0, 0, 0] == 0 and once[0, 0, 4] == 1
    # A second trip changes nothing any more.
    _, twice = written(tmp_path, bits, a=([0], once)).read("a")
    assert twice.tolist() == once.tolist()


@settings(max_examples=200)
@given(st.floats(0, 1, width=32), st.floats(0, 1, width=32), st.sampled_from([8, 16]))
def test_add__keeps_the_order_of_values(low, high, bits):
    low, high = sorted((low, high))
    shard = CamShard(bits)
    shard.add("a", np.array([0]), np.array([[[low, high]]], dtype=np.float32))
    stored = shard.tensors["a.cams"].ravel()
    assert stored[0] <= stored[1]
    assert stored.dtype == {8: np.uint8, 16: np.uint16}[bits]


def test_read__images_of_several_shards_and_sizes(tmp_path):
    wide, tall = np.full((1, 2, 9), 0.2), np.full((2, 9, 2), 0.6)
    written(tmp_path, 8, wide=([3], wide), none=([], np.zeros((0, 4, 4))))
    store = written(tmp_path, 8, tall=([1, 2], tall))
    assert list(store) == ["none", "wide", "tall"]
    assert store.read("wide")[1].shape == (1, 2, 9)
    assert store.read("tall")[1].shape == (2, 9, 2)
    assert store.read("none")[0].shape == (0,) and store.read("none")[1].shape == (0, 4, 4)
    np.testing.assert_allclose(store.read("tall")[1], 0.6, atol=1e-6)


def test_read__image_names_with_dots(tmp_path):
    store = written(tmp_path, 8, **{"a.cams": ([7], np.ones((1, 2, 2)))})
    assert list(store) == ["a.cams"]
    assert store.read("a.cams")[0].tolist() == [7]


def test_read__missing_image(tmp_path):
    store = written(tmp_path, 8, a=([0], np.zeros((1, 2, 2))))
    with pytest.raises(DataError, match="b: not in the CAM store; run `rca infer-cam`"):
        store.read("b")


def test_store__empty_folder(tmp_path):
    with pytest.raises(DataError, match="holds no CAMs; run `rca infer-cam`"):
        CamStore(tmp_path)


def test_write__same_cams_same_bytes(tmp_path):
    cams = np.random.default_rng(0).random((2, 5, 5))
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        written(tmp_path / folder, 8, b=([1, 2], cams), a=([0, 3], cams))
    one, two = (next((tmp_path / folder).iterdir()) for folder in ("one", "two"))
    assert one.read_bytes() == two.read_bytes()


def test_of__reads_some_images_in_another_process(tmp_path):
    written(tmp_path, 8, a=([3], np.full((1, 2, 2), 0.2)), b=([5], np.ones((1, 2, 2))))
    store = written(tmp_path, 8, c=([7], np.ones((1, 2, 2))))
    store.read("a")  # holds its file open, which cannot be sent
    some = pickle.loads(pickle.dumps(store.of(["a", "c", "unknown"])))
    assert list(some) == ["a", "c"]
    assert [some.read(image)[0].tolist() for image in ("c", "a", "c")] == [[7], [3], [7]]
    with pytest.raises(DataError, match="b: not in the CAM store"):
        some.read("b")


def test_read__opens_a_shard_once_for_the_images_in_it(tmp_path, monkeypatch):
    images = {f"{number}": ([0], np.ones((1, 2, 2))) for number in range(6)}
    store = written(tmp_path, 8, **images)
    opened = []
    original = cam_store.safe_open
    monkeypatch.setattr(
        cam_store, "safe_open", lambda path, **how: opened.append(path) or original(path, **how)
    )
    for image in store:
        store.read(image)
    assert len(opened) == 1
