from __future__ import annotations

import pytest
import torch

from rca.method.placement import to_image, to_view

WHOLE = torch.tensor([[0.0, 0, 1, 1]])
MIRRORED = torch.tensor([[1.0, 0, 0, 1]])


def random_maps(*size: int) -> torch.Tensor:
    return torch.rand(1, 2, *size, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("carry", [to_image, to_view])
def test_to_image_and_to_view__of_the_whole_image_change_nothing(carry) -> None:
    maps = random_maps(4, 6)
    torch.testing.assert_close(carry(maps, WHOLE, (4, 6)), maps)
    torch.testing.assert_close(carry(maps, MIRRORED, (4, 6)), maps.flip(-1))


def test_to_image__a_quarter_lands_where_it_was_cut() -> None:
    maps = random_maps(3, 3)
    right_bottom = torch.tensor([[0.5, 0.5, 1, 1]])
    placed = to_image(maps, right_bottom, (6, 6))
    torch.testing.assert_close(placed[..., 3:, 3:], maps)
    assert not placed[..., :3, :].any() and not placed[..., :3].any()


def test_to_image__what_pads_a_view_is_left_out() -> None:
    maps = random_maps(4, 4)
    twice = torch.tensor([[0.0, 0, 2, 2]])  # the image is the view's left upper quarter
    torch.testing.assert_close(to_image(maps, twice, (2, 2)), maps[..., :2, :2])
    assert not to_view(maps, twice, (8, 8))[..., 4:, 4:].any()


def test_to_view__is_the_way_back() -> None:
    boxes = torch.tensor([[0.25, 0.5, 0.75, 1], [0.75, 0, 0.25, 0.5]])
    maps = random_maps(4, 4).expand(2, -1, -1, -1)
    there = to_image(maps, boxes, (8, 8))
    torch.testing.assert_close(to_view(there, boxes, (4, 4)), maps)


def test_to_image__equals_loop_over_cells() -> None:
    # Along a ramp, bilinear sampling is exact: a cell's value says where it was taken from.
    ramp = (torch.arange(10) + 0.5) / 10
    maps = ramp.expand(1, 1, 10, 10)
    left, right = 0.9, 0.2  # mirrored
    placed = to_image(maps, torch.tensor([[left, 0, right, 1]]), (1, 20))[0, 0, 0]
    for cell in range(20):
        at = ((cell + 0.5) / 20 - left) / (right - left)
        expected = min(max(at, 0.05), 0.95) if 0 <= at <= 1 else 0
        assert placed[cell].item() == pytest.approx(expected, abs=1e-5)
