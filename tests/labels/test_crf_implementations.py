"""The CRF by numba and torch: against pydensecrf, and against the sum over all pairs."""

from __future__ import annotations

import io
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from rca.config import ConfigError, Crf
from rca.labels.crf import dense_crf
from rca.labels.crf_kernels import colour_features, key_radix, place_features
from rca.labels.scores import upsample_cams

pytest.importorskip("numba", reason="the extra `numba` is not installed")
from rca.labels import lattice, mean_field_numba, mean_field_torch

SAMPLE = Path(__file__).parents[2] / "data/embedded/voc12_animals_sample.tar"
NEW = ("numba", "torch")


def photographs(count: int) -> list[np.ndarray]:
    """The first photographs of the embedded sample, uint8 (H, W, 3)."""
    with tarfile.open(SAMPLE) as archive:
        names = sorted(name for name in archive.getnames() if name.endswith(".jpg"))[:count]
        files = [archive.extractfile(name).read() for name in names]
    return [np.asarray(Image.open(io.BytesIO(file)).convert("RGB")) for file in files]


def scores_like_cams(labels: int, image: np.ndarray, seed: int = 0) -> np.ndarray:
    height, width, _ = image.shape
    cells = np.random.default_rng(seed).random((labels, height // 16 + 1, width // 16 + 1))
    return upsample_cams(cells.astype(np.float32) ** 2, height, width)


def by(implementation: str, image, scores, **keys) -> np.ndarray:
    return dense_crf(image, scores, Crf(implementation=implementation, **keys))


@pytest.fixture(scope="module")
def image() -> np.ndarray:
    """A cut of a photograph, whose number of pixels is odd: pydensecrf works on four at a time."""
    return photographs(1)[0][:75, :101]


@pytest.mark.parametrize("implementation", NEW)
@pytest.mark.parametrize("labels", [2, 3, 5])
def test_labels_are_those_of_pydensecrf_on_photographs(implementation, labels):
    equal, pixels = 0, 0
    for seed, photograph in enumerate(photographs(3)):
        scores = scores_like_cams(labels, photograph, seed)
        expected = by("pydensecrf", photograph, scores)
        posteriors = by(implementation, photograph, scores)
        equal += (posteriors.argmax(0) == expected.argmax(0)).sum()
        pixels += expected[0].size
        np.testing.assert_allclose(posteriors, expected, atol=2e-3)
    assert equal >= 0.999 * pixels


@pytest.mark.parametrize("implementation", NEW)
@pytest.mark.parametrize(
    "keys",
    [
        {"iterations": 1},
        {"bilateral_sxy": 7.0, "bilateral_srgb": 3.0},  # many more vertices than at first allotted
        {"gaussian_sxy": 0.4, "gaussian_compat": 9.0},
        {"max_side": 60},
    ],
)
def test_posteriors_are_those_of_pydensecrf_with_other_settings(implementation, keys, image):
    scores = scores_like_cams(3, image)

    posteriors = by(implementation, image, scores, **keys)

    np.testing.assert_allclose(posteriors, by("pydensecrf", image, scores, **keys), atol=2e-3)


@pytest.mark.parametrize("implementation", NEW)
@pytest.mark.parametrize("shape", [(1, 1), (1, 70), (65, 1), (8, 8)])
@pytest.mark.parametrize("grey", [0, 128])
def test_grey_and_thin_images(implementation, shape, grey):
    flat = np.full((*shape, 3), grey, np.uint8)
    scores = np.random.default_rng(0).random((2, *shape), dtype=np.float32)

    posteriors = by(implementation, flat, scores)

    assert posteriors.dtype == np.float32
    np.testing.assert_allclose(posteriors.sum(0), 1, atol=1e-5)
    np.testing.assert_allclose(posteriors, by("pydensecrf", flat, scores), atol=1e-3)


@pytest.mark.parametrize("implementation", NEW)
def test_order_of_labels_permutes_with_it(implementation, image):
    scores = scores_like_cams(6, image)
    order = [4, 2, 0, 5, 1, 3]

    permuted = by(implementation, image, scores[order])

    np.testing.assert_allclose(permuted, by(implementation, image, scores)[order], atol=1e-4)


@pytest.mark.parametrize("implementation", NEW)
def test_same_bytes_twice_and_inputs_untouched(implementation, image):
    scores = scores_like_cams(3, image)
    frozen = np.array(image)
    frozen.flags.writeable = scores.flags.writeable = False

    first = by(implementation, frozen, scores)

    assert first.tobytes() == by(implementation, frozen, scores).tobytes()


@pytest.mark.parametrize("implementation", NEW)
def test_one_label_passes_through(implementation, image):
    assert (by(implementation, image, scores_like_cams(1, image)) == 1).all()


@pytest.mark.parametrize("features", ["place", "colour"])
def test_kernels_are_close_to_the_sum_over_all_pairs(features):
    image = np.array(Image.fromarray(photographs(1)[0]).resize((24, 18)))
    cfg = Crf(bilateral_sxy=10, bilateral_srgb=40)
    positions = place_features(18, 24, 3) if features == "place" else colour_features(image, cfg)
    values = np.random.default_rng(0).random((18 * 24, 4), dtype=np.float32)
    apart = ((positions[:, :, None] - positions[:, None]) ** 2).sum(0)
    gaussian = np.exp(-apart / 2)
    root = 1 / np.sqrt(gaussian.sum(1))
    expected = 5 * root[:, None] * (gaussian @ (root[:, None] * values))

    fast = filtered(lattice.gaussian_lattice(positions, 5), values)
    kernel = mean_field_torch.Kernel.of(positions, 5, torch.device("cpu"))

    np.testing.assert_allclose(kernel.filtered(torch.from_numpy(values)), fast, rtol=1e-4)
    assert np.abs(fast - expected).mean() < 0.04 * expected.mean()


def filtered(kernel: lattice.Lattice, values: np.ndarray) -> np.ndarray:
    """Apply a lattice as the definition says: splat, blur, slice."""
    splat = kernel.zeros(values.shape[1])
    np.add.at(splat, kernel.vertices, kernel.weights[..., None] * values[:, None])
    lattice.blur(splat, np.zeros_like(splat), kernel.neighbours)
    return (kernel.weights[..., None] * splat[kernel.vertices]).sum(1)


def test_vertices_have_keys_of_their_own(image):
    positions = colour_features(image, Crf())
    built = lattice.gaussian_lattice(positions, 1)
    keys, _ = mean_field_torch._simplices(
        torch.from_numpy(positions), torch.tensor(key_radix(positions))
    )

    assert keys.unique().numel() <= built.neighbours.shape[1]  # the origin's vertices are added
    for pixel in keys[::997].tolist():
        assert len(set(pixel)) == 6


def test_neighbours_are_mutual(image):
    built = lattice.gaussian_lattice(colour_features(image, Crf()), 1)
    count = built.neighbours.shape[1]
    for axis in built.neighbours:
        known = np.flatnonzero(axis[:, 0] < count)
        assert (axis[axis[known, 0], 1] == known).all()
        assert known.size > 0


def test_lattice_of_places_is_built_once_per_size(image):
    mean_field_numba.place_lattice.cache_clear()
    for _ in range(2):
        by("numba", image, scores_like_cams(2, image))
    assert mean_field_numba.place_lattice.cache_info().hits == 1


@pytest.mark.parametrize("implementation", NEW)
def test_kernels_too_narrow_are_an_error(implementation, image):
    with pytest.raises(ConfigError, match=r"too narrow.*crf\.implementation: pydensecrf"):
        by(implementation, image, scores_like_cams(2, image), bilateral_srgb=1e-3)


def test_missing_numba_names_the_fix(image, monkeypatch):
    monkeypatch.setitem(sys.modules, "rca.labels.mean_field_numba", None)
    monkeypatch.delattr("rca.labels.mean_field_numba")
    with pytest.raises(ConfigError, match=r"rca-wsss\[numba\]', or set crf\.implementation"):
        by("numba", image, scores_like_cams(2, image))


def test_torch_works_in_one_process():
    assert Crf(processes=8).workers == 8
    assert Crf(processes=8, implementation="torch").workers == 1
