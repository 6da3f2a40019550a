"""Training views: geometry, padding, and randomness that comes from the generator alone."""

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms.v2 import functional as T

from rca.config import View
from rca.data.views import MEAN, STD, normalised, training_view

PLAIN = {"jitter": 0.0, "hue": 0.0, "flip": False}


def draws(seed=0):
    return torch.Generator().manual_seed(seed)


def gradient(area=10) -> tuple[Image.Image, np.ndarray]:
    """4 × 3 areas; the image is 20 times its label map, so both can be compared after any view."""
    labels = np.arange(12, dtype=np.uint8).reshape(3, 4).repeat(area, 0).repeat(area, 1)
    return Image.fromarray(np.stack([labels * 20] * 3, axis=-1)), labels


def grey(view: torch.Tensor) -> torch.Tensor:
    return (view[0] * STD[0] + MEAN[0]) * 255


def test_normalised__imagenets_statistics():
    image = Image.new("RGB", (2, 2), (255, 0, 51))
    expected = [(1 - MEAN[0]) / STD[0], (0 - MEAN[1]) / STD[1], (0.2 - MEAN[2]) / STD[2]]
    torch.testing.assert_close(normalised(image)[:, 0, 0], torch.tensor(expected))


def test_training_view__square_keeps_the_whole_image():
    image, labels = gradient()
    view, marks, box = training_view(image, labels, View(mode="square", size=20, **PLAIN), draws())
    assert box.tolist() == [0, 0, 1, 1]
    assert view.shape == (3, 20, 20)
    expected = labels[np.arange(20) * 30 // 20 + 0][:, np.arange(20) * 2]
    assert set(np.unique(marks)) == set(np.unique(labels))
    assert (marks.numpy() == expected).mean() > 0.9  # nearest neighbours at the borders may differ


@pytest.mark.parametrize("seed", range(5))
def test_training_view__crop_moves_image_and_labels_together(seed):
    image, labels = gradient(area=100)  # large, so that borders hardly count
    cfg = View(mode="crop", size=96, scale=(0.8, 1.6), jitter=0, hue=0, flip=True)
    view, marks, _ = training_view(image, labels, cfg, draws(seed))
    inside = marks != 255
    near = (grey(view) - marks * 20).abs()[inside] < 5
    assert near.float().mean() > 0.9


def test_training_view__crop_pads_with_mean_colour_and_255():
    image, labels = gradient()
    cfg = View(mode="crop", size=60, scale=(0.5, 0.5), **PLAIN)
    view, marks, box = training_view(image, labels, cfg, draws())
    assert box.tolist() == [0, 0, 1.5, 2]
    assert (marks[:30, :40] != 255).all()
    assert (marks[30:] == 255).all()
    assert (view[:, 30:] == 0).all()


@pytest.mark.parametrize("seed", range(6))
def test_training_view__colours_are_those_of_the_whole_image_jittered_and_then_cut(seed):
    pixels = torch.randint(256, (3, 30, 40), generator=draws(), dtype=torch.uint8)
    image = Image.fromarray(pixels.permute(1, 2, 0).numpy())
    cfg = View(mode="crop", size=24, scale=(1.25, 1.25), jitter=0.5, hue=0.3, flip=False)
    view, _, (left, top, _, _) = training_view(image, None, cfg, draws(seed))

    brightness, contrast, saturation, hue = 2 * torch.rand(8, generator=draws(seed))[4:] - 1
    whole = T.adjust_brightness(pixels, 1 + 0.5 * float(brightness))
    whole = T.adjust_contrast(whole, 1 + 0.5 * float(contrast))
    whole = T.adjust_saturation(whole, 1 + 0.5 * float(saturation))
    whole = normalised(T.adjust_hue(whole, 0.3 * float(hue)))
    left, top = round(40 * float(left)), round(30 * float(top))
    torch.testing.assert_close(view, whole[:, top : top + 24, left : left + 24])


@pytest.mark.parametrize("seed", range(4))
def test_training_view__box_says_where_in_the_image_it_is(seed):
    across = np.linspace(0, 255, 400, dtype=np.uint8)[None].repeat(300, 0)
    down = np.linspace(0, 255, 300, dtype=np.uint8)[:, None].repeat(400, 1)
    image = Image.fromarray(np.stack([across, down, down], axis=-1))
    cfg = View(mode="crop", size=96, scale=(1.0, 1.6), jitter=0, hue=0, flip=True)
    view, _, (left, top, right, bottom) = training_view(image, None, cfg, draws(seed))
    centres = (torch.arange(96) + 0.5) / 96
    red = (view[0] * STD[0] + MEAN[0])[48]
    green = (view[1] * STD[1] + MEAN[1])[:, 48]
    torch.testing.assert_close(red, left + centres * (right - left), atol=0.02, rtol=0)
    torch.testing.assert_close(green, top + centres * (bottom - top), atol=0.02, rtol=0)


def test_training_view__flip_happens_for_about_half_of_the_draws():
    image, labels = gradient()
    cfg = View(mode="square", size=20, jitter=0, hue=0, flip=True)
    plain = training_view(image, labels, cfg.model_copy(update={"flip": False}), draws())[1]
    flipped = [
        torch.equal(training_view(image, labels, cfg, draws(seed))[1], plain.flip(-1))
        for seed in range(40)
    ]
    assert 10 < sum(flipped) < 30


def test_training_view__same_generator_same_view():
    image, labels = gradient()
    cfg = View(mode="crop", size=24, scale=(0.5, 1.5), flip=True, jitter=0.3, hue=0.1)
    first, second, other = (training_view(image, labels, cfg, draws(s)) for s in (1, 1, 2))
    assert torch.equal(first[0], second[0])
    assert torch.equal(first[1], second[1])
    assert not torch.equal(first[0], other[0])


def test_training_view__switching_jitter_off_leaves_the_crop_where_it_was():
    image, labels = gradient()
    cfg = View(mode="crop", size=24, scale=(0.5, 1.5), flip=True, jitter=0.3, hue=0.1)
    without = cfg.model_copy(update={"jitter": 0.0, "hue": 0.0})
    assert torch.equal(
        training_view(image, labels, cfg, draws(3))[1],
        training_view(image, labels, without, draws(3))[1],
    )


def test_training_view__without_labels_all_are_ignored():
    image, _ = gradient()
    assert (training_view(image, None, View(size=8), draws())[1] == 255).all()
