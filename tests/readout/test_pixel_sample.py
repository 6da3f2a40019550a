"""Samples of pixels on disk."""

from __future__ import annotations

import pytest
import torch

from rca.readout.sample import (
    ImageSample,
    count_pixels,
    draw_pixels,
    is_sample,
    read_sample,
    write_sample,
)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def sample(grid: tuple[int, int], count: int, seed: int) -> ImageSample:
    places = draw_pixels(grid, count, seeded(seed))
    return ImageSample(torch.randn(len(places), 5, generator=seeded(seed)).half(), places, grid)


@pytest.fixture
def samples() -> dict[str, ImageSample]:
    """A part of `a`, all of `b.c`, whose name has a dot, and a single pixel of `d`."""
    return {"a": sample((4, 6), 7, 1), "b.c": sample((2, 3), 9, 2), "d": sample((3, 3), 1, 3)}


def test_read_sample__is_what_was_written_in_the_order_asked_for(tmp_path, samples):
    path = tmp_path / "folder" / "00000.safetensors"
    write_sample(path, samples)
    assert [file.name for file in path.parent.iterdir()] == [path.name]
    read = read_sample(path, ["d", "a", "b.c"])
    for found, name in zip(read, ("d", "a", "b.c"), strict=True):
        assert torch.equal(found.features, samples[name].features)
        assert torch.equal(found.places, samples[name].places)
        assert found.features.dtype == torch.float16 and found.places.dtype == torch.int32
        assert found.grid == samples[name].grid
    assert [found.whole for found in read] == [False, False, True]


def test_count_pixels__of_the_images_asked_for(tmp_path, samples):
    write_sample(tmp_path / "s", samples)
    assert count_pixels(tmp_path / "s", ["a", "b.c", "d"]) == 7 + 6 + 1
    assert count_pixels(tmp_path / "s", ["d"]) == 1


def test_write_sample__same_bytes_twice(tmp_path, samples):
    write_sample(tmp_path / "one", samples)
    write_sample(tmp_path / "two", samples)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def test_is_sample__only_a_whole_file_of_these_images(tmp_path, samples):
    path = tmp_path / "s"
    assert not is_sample(path, list(samples))
    write_sample(path, samples)
    assert is_sample(path, list(samples)) and is_sample(path, ["d", "b.c", "a"])
    assert not is_sample(path, ["a", "d"])
    assert not is_sample(path, [*samples, "e"])


@pytest.mark.parametrize("kept", [0, 4, 100, -1])
def test_is_sample__not_of_a_truncated_file(tmp_path, samples, kept):
    path = tmp_path / "s"
    write_sample(path, samples)
    path.write_bytes(path.read_bytes()[:kept])
    assert not is_sample(path, list(samples))


@pytest.mark.parametrize("most", [12, 13, 1000])
def test_draw_pixels__takes_all_that_fit(most):
    places = draw_pixels((3, 4), most, seeded())
    assert places.tolist() == list(range(12)) and places.dtype == torch.int32


@pytest.mark.parametrize("most", [1, 5, 11])
def test_draw_pixels__takes_as_many_as_allowed_once_each_in_order(most):
    places = draw_pixels((3, 4), most, seeded()).tolist()
    assert len(places) == len(set(places)) == most
    assert places == sorted(places) and set(places) <= set(range(12))


def test_draw_pixels__is_random_but_for_its_generator():
    draws = [draw_pixels((20, 20), 10, seeded(seed)).tolist() for seed in (0, 0, 1)]
    assert draws[0] == draws[1] != draws[2]
    often = torch.zeros(6)
    generator = seeded()
    for _ in range(3000):
        often[draw_pixels((2, 3), 2, generator).long()] += 1
    assert (often / 3000 - 1 / 3).abs().max() < 0.05  # every pixel alike
