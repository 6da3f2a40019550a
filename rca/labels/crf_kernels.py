"""What implementations of the dense CRF share: pixels' positions, and how vertices are numbered."""

from __future__ import annotations

import numpy as np

from rca.config import ConfigError, Crf


def place_features(height: int, width: int, sxy: float) -> np.ndarray:
    """Compute each pixel's place in units of the kernel's width, float32 (2, H × W), x first."""
    rows, columns = np.mgrid[:height, :width].astype(np.float32).reshape(2, -1)
    return np.stack([columns, rows]) / np.float32(sxy)


def colour_features(image: np.ndarray, cfg: Crf) -> np.ndarray:
    """Compute each pixel's place and colour in units of the kernel's widths, float32 (5, H × W)."""
    place = place_features(image.shape[0], image.shape[1], cfg.bilateral_sxy)
    colours = image.reshape(-1, 3).T.astype(np.float32) / np.float32(cfg.bilateral_srgb)
    return np.concatenate([place, colours])


def with_origin(features: np.ndarray) -> np.ndarray:
    """Append a black pixel at the origin if N is no multiple of four, float32 (D, N or N + 1).

    `pydensecrf` places pixels four at a time. Those that it adds have no value of their own, but
    their vertices pass on their neighbours' values, which moves the posteriors near black pixels.
    """
    if features.shape[1] % 4 == 0:
        return features
    return np.concatenate([features, np.zeros_like(features[:, :1])], axis=1)


def lattice_scale(dimensions: int) -> np.ndarray:
    """Compute the lattice's units per axis, float32 (D,): its blur has the kernel's variance."""
    deviation = float(np.float32(np.sqrt(2 / 3) * (dimensions + 1)))
    axes = np.arange(dimensions)
    return (deviation / np.sqrt((axes + 2.0) * (axes + 1.0))).astype(np.float32)


def slice_share(dimensions: int) -> float:
    """Compute the factor of sliced values, with which the blurs keep the sum."""
    return 1 / (1 + 2.0**-dimensions)


def key_radix(features: np.ndarray) -> tuple[int, ...]:
    """Choose the factors with which a vertex's D + 1 coordinates add up to a key of its own.

    Args:
        features: The pixels' positions, float32 (D, N).

    Returns:
        D + 1 factors. The last is 0, because the coordinates' sum is known.

    Raises:
        ConfigError: The vertices that the positions span need more than 62 bits.
    """
    dimensions = len(features)
    reach = np.abs(features).max(axis=1) * lattice_scale(dimensions)
    radix = [1]
    for axis in range(dimensions):
        bound = (axis * reach[axis - 1] if axis else 0) + reach[axis:].sum()
        # Rounding, the simplex's other vertices and their neighbours lie within four steps.
        radix.append(radix[-1] * (2 * (int(bound) + 4 * (dimensions + 1)) + 3))
    if radix[-1] >= 2**62:
        raise ConfigError(
            "the kernels of section crf are too narrow for so large a photograph; enlarge "
            "crf.bilateral_srgb and the like, or set crf.implementation: pydensecrf"
        )
    return (*radix[:-1], 0)
