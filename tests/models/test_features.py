"""Features of several blocks and sizes on one grid."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from rca.config import Backbone
from rca.models.backbones import build_backbone
from rca.models.features import block_features

BLOCKS = [2, 4, 5]  # strides 4, 8 and 8
WIDTHS = [24, 32, 32]


@pytest.fixture(scope="module")
def backbone():
    torch.manual_seed(0)
    cfg = Backbone(name="mobilenet_v2", stride=16, weights="none", blocks=6)
    return build_backbone(cfg).eval()


@pytest.fixture(scope="module")
def image() -> Tensor:
    return torch.randn(3, 64, 96, generator=torch.Generator().manual_seed(1))


@torch.inference_mode()
def by_hand(backbone, image: Tensor, shape: tuple[int, int]) -> dict[int, Tensor]:
    """Output of every block, (D, h, w), for the image at another size."""
    resized = F.interpolate(image[None], shape, mode="bilinear", antialias=True)
    view = image[None] if image.shape[-2:] == shape else resized
    found = {}
    for number in range(len(backbone)):
        view = backbone[number](view)
        found[number] = view[0]
    return found


def on_grid(maps: Tensor, grid: tuple[int, int]) -> Tensor:
    if maps.shape[-2:] == grid:
        return maps
    return F.interpolate(maps[None], grid, mode="bilinear", antialias=True)[0]


def close(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_block_features__at_one_size_are_those_of_the_blocks_by_hand(backbone, image):
    expected = by_hand(backbone, image, (64, 96))
    found = block_features(backbone, image, [4, 5], [64])
    assert [tuple(maps.shape) for maps in found] == [(32, 8, 12), (32, 8, 12)]
    for maps, number in zip(found, [4, 5], strict=True):
        close(maps, expected[number])


def test_block_features__of_an_earlier_block_are_on_the_grid_of_the_last(backbone, image):
    expected = by_hand(backbone, image, (64, 96))
    found = block_features(backbone, image, [2, 5], [64])
    assert expected[2].shape[-2:] == (16, 24) and found[0].shape == (24, 8, 12)
    close(found[0], on_grid(expected[2], (8, 12)))


@pytest.mark.parametrize("sizes", [[32, 128, 64], [128, 64, 32]])
def test_block_features__are_on_the_grid_of_the_largest_size_in_the_order_of_the_sizes(
    backbone, image, sizes
):
    found = block_features(backbone, image, BLOCKS, sizes)
    assert [len(maps) for maps in found] == WIDTHS * 3
    assert {tuple(maps.shape[-2:]) for maps in found} == {(16, 24)}  # 128 × 192 at stride 8
    expected = [
        on_grid(by_hand(backbone, image, (size, size * 3 // 2))[number], (16, 24))
        for size in sizes
        for number in BLOCKS
    ]
    for maps, other in zip(found, expected, strict=True):
        close(maps, other)


def test_block_features__come_in_the_order_of_the_backbone(backbone, image):
    for maps, other in zip(
        block_features(backbone, image, [5, 2], [64]),
        block_features(backbone, image, [2, 5], [64]),
        strict=True,
    ):
        assert torch.equal(maps, other)


@pytest.mark.parametrize(("height", "width", "grid"), [(50, 71, (8, 12)), (71, 50, (12, 8))])
def test_block_features__size_is_of_the_short_side(backbone, height, width, grid):
    (maps,) = block_features(backbone, torch.zeros(3, height, width), [4], [64])
    assert maps.shape[-2:] == grid


def test_block_features__of_a_block_do_not_run_those_after_it(backbone, image):
    calls = []
    hooks = [
        block.register_forward_hook(lambda *_, number=number: calls.append(number))
        for number, block in enumerate(backbone)
    ]
    block_features(backbone, image, [1, 3], [64])
    for hook in hooks:
        hook.remove()
    assert calls == [0, 1, 2, 3]
