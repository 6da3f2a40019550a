"""The dense CRF: labels that agree with the image's colours and edges.

Krähenbühl & Koltun, "Efficient inference in fully connected CRFs with Gaussian edge potentials",
NIPS 2011. `pydensecrf` is the reference; `mean_field_numba` and `mean_field_torch` compute the same
faster, on a CPU and on a GPU.
"""

from __future__ import annotations

from types import ModuleType

import numpy as np
from PIL import Image

from rca.config import ConfigError, Crf, not_installed
from rca.labels.scores import upsample_cams

CLIP = 1e-8
NEGLIGIBLE = 0.01


def dense_crf(image: np.ndarray, probabilities: np.ndarray, cfg: Crf) -> np.ndarray:
    """Compute each label's posterior by `cfg.iterations` of mean field, float32 (N + 1, H, W).

    The energy is -log p plus two Potts terms: one over nearby pixels, one over nearby pixels of
    similar colour. A factor common to all labels of a pixel cancels, so `probabilities` may be any
    scores. An image with a side longer than `cfg.max_side` is scaled down to it, and the spatial
    kernels with it; the posteriors are scaled up again.

    Differs from the released code: it passes OpenCV's BGR. The bilateral kernel is the same, since
    one `bilateral_srgb` applies to all three colours; only the lattice that approximates it has its
    colour axes in another order.

    Args:
        image: The image, RGB, uint8 (H, W, 3).
        probabilities: The scores of the labels, (N + 1, H, W), not negative. Leave out labels that
            are absent (`contenders`): they would take time and change nothing. A single label gets
            a posterior of 1 everywhere.
        cfg: The kernels, the number of iterations and the working size.

    Raises:
        ValueError: Image and probabilities differ in size.
        ConfigError: The library of `cfg.implementation` is not installed.
    """
    labels, height, width = probabilities.shape
    if image.shape != (height, width, 3):
        raise ValueError(f"the image is {image.shape}, its probabilities {probabilities.shape}")
    if labels == 1:
        return np.ones((1, height, width), dtype=np.float32)
    share = (cfg.max_side or max(height, width)) / max(height, width)
    if share >= 1:
        return _mean_field(image, probabilities, cfg)
    size = (max(round(width * share), 1), max(round(height * share), 1))
    scores = np.stack([_reduced(score, size) for score in probabilities.astype(np.float32)])
    scaled = {key: getattr(cfg, key) * share for key in ("gaussian_sxy", "bilateral_sxy")}
    posteriors = _mean_field(_reduced(image, size), scores, cfg.model_copy(update=scaled))
    return upsample_cams(posteriors, height, width)


def _reduced(pixels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Scale an image or a map down to (width, height), each pixel the mean of those it covers."""
    return np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.BOX))


def _mean_field(image: np.ndarray, probabilities: np.ndarray, cfg: Crf) -> np.ndarray:
    energy = unary_energy(probabilities)
    if cfg.implementation == "numba":
        return _numba().mean_field(image, energy, cfg)
    if cfg.implementation == "torch":
        from rca.labels import mean_field_torch  # workers of the others need not load torch

        return mean_field_torch.mean_field(image, energy, cfg)
    labels, height, width = energy.shape
    field = _library().DenseCRF2D(width, height, labels)
    field.setUnaryEnergy(energy.reshape(labels, -1))
    field.addPairwiseGaussian(sxy=cfg.gaussian_sxy, compat=cfg.gaussian_compat)
    field.addPairwiseBilateral(
        sxy=cfg.bilateral_sxy,
        srgb=cfg.bilateral_srgb,
        rgbim=np.array(image, order="C"),  # a copy: pydensecrf refuses read-only memory
        compat=cfg.bilateral_compat,
    )
    posteriors = np.array(field.inference(cfg.iterations), dtype=np.float32)
    return posteriors.reshape(labels, height, width)


def contenders(probabilities: np.ndarray, cfg: Crf) -> np.ndarray:
    """Find the labels that the CRF could choose at some pixel, int64 (K,), in ascending order.

    Left out is a label that has less than a share s of the probability at every pixel. A step of
    mean field makes its largest posterior q at most s · exp(c q), where c is the weight of both
    kernels. With s c at most 0.13, q stays below 1.17 s. A pixel's most probable label is never
    left out.

    Args:
        probabilities: The scores of N labels, (N, H, W), not negative.
        cfg: The kernels.
    """
    total = np.maximum(probabilities.sum(axis=0), CLIP)
    largest = np.array([(score / total).max() for score in probabilities])
    negligible = min(NEGLIGIBLE, 0.13 / (cfg.gaussian_compat + cfg.bilateral_compat))
    return np.flatnonzero(largest >= min(negligible, largest.max(), 1 / len(largest)))


def unary_energy(probabilities: np.ndarray) -> np.ndarray:
    """Compute -log of the probabilities, normalised over the labels and clipped.

    A pixel without any evidence gets the same energy for every label.

    Args:
        probabilities: The scores of the labels, (N + 1, H, W), not negative.

    Returns:
        The energies, float32 (N + 1, H, W).
    """
    total = np.maximum(probabilities.sum(axis=0), CLIP)
    share = np.clip(probabilities / total, CLIP, 1)
    return -np.log(share).astype(np.float32, order="C")


def _library() -> ModuleType:
    try:
        import pydensecrf.densecrf as library
    except ImportError as error:
        raise ConfigError(
            f"crf.method: dense needs pydensecrf ({error}); install pydensecrf2==1.1, "
            "which asks for a C++ compiler, or set crf.method: none"
        ) from None
    return library


def _numba() -> ModuleType:
    try:
        from rca.labels import mean_field_numba as implementation
    except ImportError:
        raise not_installed(
            "crf.implementation: numba", "numba", "numba", "set crf.implementation: pydensecrf"
        ) from None
    return implementation
