"""Dense CRF: labels that agree with the image's colours and edges.

Krähenbühl & Koltun, "Efficient inference in fully connected CRFs with Gaussian edge potentials",
NIPS 2011, through `pydensecrf`.
"""

from __future__ import annotations

from types import ModuleType

import numpy as np

from rca.config import ConfigError, Crf

CLIP = 1e-8


def dense_crf(image: np.ndarray, probabilities: np.ndarray, cfg: Crf) -> np.ndarray:
    """Posterior of every label after `cfg.iterations` of mean field, float32 (N + 1, H, W).

    The energy is -log p plus two Potts terms: one over near pixels, one over near pixels of like
    colour. A factor common to all labels of a pixel cancels, so `probabilities` may be any scores.

    Args:
        image: uint8 (H, W, 3), RGB.
        probabilities: (N + 1, H, W), not negative. Labels known to be absent are best left out:
            they would take time and change nothing. One label alone is certain everywhere.
        cfg: kernels and iterations.

    Differs from the released code: that feeds OpenCV's BGR. The bilateral kernel is the same, since
    one `bilateral_srgb` serves the three colours; only the lattice that approximates it is turned.

    Raises:
        ValueError: image and probabilities differ in size.
        ConfigError: `pydensecrf` is not installed.
    """
    labels, height, width = probabilities.shape
    if image.shape != (height, width, 3):
        raise ValueError(f"the image is {image.shape}, its probabilities {probabilities.shape}")
    if labels == 1:
        return np.ones((1, height, width), dtype=np.float32)
    field = _library().DenseCRF2D(width, height, labels)
    field.setUnaryEnergy(unary_energy(probabilities).reshape(labels, -1))
    field.addPairwiseGaussian(sxy=cfg.gaussian_sxy, compat=cfg.gaussian_compat)
    field.addPairwiseBilateral(
        sxy=cfg.bilateral_sxy,
        srgb=cfg.bilateral_srgb,
        rgbim=np.array(image, order="C"),  # a copy: pydensecrf refuses read-only memory
        compat=cfg.bilateral_compat,
    )
    posteriors = np.array(field.inference(cfg.iterations), dtype=np.float32)
    return posteriors.reshape(labels, height, width)


def unary_energy(probabilities: np.ndarray) -> np.ndarray:
    """-log of the probabilities, normalised over the labels and clipped, float32 (N + 1, H, W).

    A pixel without any evidence gets the same energy for every label.
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
