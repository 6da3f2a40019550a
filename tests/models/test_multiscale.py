"""Multi-scale inference: averages, flips, sizes."""

import pytest
import torch
import torch.nn.functional as F

from rca.models.multiscale import multiscale, once_for_each_size

IMAGE = torch.rand(3, 20, 30, generator=torch.Generator().manual_seed(0))


def run(network, **changes):
    options = {"short_side": 20, "scales": [1.0], "flip": False, "output": (20, 30)}
    return multiscale(network, IMAGE, **{**options, **changes})


def test_multiscale__one_scale_without_flip_is_the_network():
    torch.testing.assert_close(run(lambda x: x * 2), IMAGE * 2)


def test_multiscale__is_the_mean_over_scales_and_flips():
    weight = torch.linspace(0, 1, 30)  # a network that looks at the place, so that flips matter

    def network(x):
        return x * F.interpolate(weight[None, None], x.shape[-1], mode="linear")[:, :, None]

    expected = torch.zeros(3, 20, 30)
    for scale in (0.5, 1.0):
        size = (round(20 * scale), round(30 * scale))
        view = F.interpolate(IMAGE[None], size, mode="bilinear", antialias=scale < 1)
        plain, mirrored = network(view), network(view.flip(-1)).flip(-1)
        expected += F.interpolate((plain + mirrored) / 2, (20, 30), mode="bilinear")[0] / 2
    torch.testing.assert_close(run(network, scales=[0.5, 1.0], flip=True), expected)


def test_multiscale__flip_of_the_image_flips_the_result():
    def network(x):
        return x.cumsum(-1)

    mirrored = multiscale(
        network, IMAGE.flip(-1), short_side=20, scales=[1.0], flip=True, output=(20, 30)
    )
    torch.testing.assert_close(run(network, flip=True), mirrored.flip(-1))


@pytest.mark.parametrize("short_side", [10, 40])
def test_multiscale__the_network_sees_the_short_side_asked_for(short_side):
    seen = []

    def network(x):
        seen.append(tuple(x.shape[-2:]))
        return x

    run(network, short_side=short_side, scales=[1.0, 1.5])
    assert seen == [(short_side, short_side * 3 // 2), (short_side * 3 // 2, short_side * 9 // 4)]


def test_once_for_each_size__a_scale_that_is_asked_for_again_does_not_run_again():
    seen = []

    def network(x):
        seen.append(x.shape[-2])
        return x * 2

    once = once_for_each_size(network)
    first = run(once, scales=[1.0], flip=True)
    again = run(once, scales=[1.0, 0.5], flip=True)
    assert seen == [20, 10]
    torch.testing.assert_close(first, run(network, scales=[1.0], flip=True))
    torch.testing.assert_close(again, run(network, scales=[1.0, 0.5], flip=True))
