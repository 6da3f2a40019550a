"""Mean field of the dense CRF in torch, for a GPU: the posteriors of `pydensecrf`.

The lattice is that of `rca/labels/lattice.py`, but sorted rather than hashed: splatting and slicing
are products with sparse matrices, and the blur reads from tables of neighbours.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
import torch

from rca.config import Crf
from rca.labels.crf_kernels import (
    colour_features,
    key_radix,
    lattice_scale,
    place_features,
    slice_share,
    with_origin,
)


def mean_field(
    image: np.ndarray, energy: np.ndarray, cfg: Crf, device: torch.device | None = None
) -> np.ndarray:
    """Compute the posteriors, float32 (L, H, W), as `pydensecrf` does.

    Args:
        image: The image, RGB, uint8 (H, W, 3).
        energy: The unary energies, float32 (L, H, W).
        cfg: The kernels and the number of iterations.
        device: The device; left out, the GPU if there is one.

    Raises:
        ConfigError: The kernels are too narrow for the image.
    """
    device = device or torch.device("cuda" if torch.cuda.is_available() else "cpu")
    labels, height, width = energy.shape
    place = place_features(height, width, cfg.gaussian_sxy)
    kernels = [
        Kernel.of(place, cfg.gaussian_compat, device),
        Kernel.of(colour_features(image, cfg), cfg.bilateral_compat, device),
    ]
    evidence = -torch.from_numpy(energy).to(device).reshape(labels, -1).T.contiguous()
    posteriors = evidence.softmax(dim=1)
    for _ in range(cfg.iterations):
        logits = evidence + kernels[0].filtered(posteriors) + kernels[1].filtered(posteriors)
        posteriors = logits.softmax(dim=1)
    return posteriors.T.reshape(energy.shape).cpu().numpy()


@dataclass(frozen=True)
class Kernel:
    """A Gaussian kernel over all pairs of N pixels, normalised, on a lattice of M vertices.

    `splat` is sparse (M, N), `slice` is its transpose; `neighbours`, (D + 1, 2, M), holds M where a
    vertex has none.
    """

    splat: torch.Tensor
    slice: torch.Tensor
    neighbours: torch.Tensor

    @classmethod
    def of(cls, features: np.ndarray, compat: float, device: torch.device) -> Kernel:
        """Build the kernel of the pixels at `features`, float32 (D, N), times `compat`."""
        radix = torch.tensor(key_radix(features), device=device)
        pixels = features.shape[1]
        keys, weights = _simplices(torch.from_numpy(with_origin(features)).to(device), radix)
        known, vertices = keys.unique(return_inverse=True)
        vertices, weights = vertices[:pixels], weights[:pixels]
        neighbours = _neighbours(known, radix)
        plain = cls(*_products(vertices, weights, len(known)), neighbours)
        share = slice_share(len(features))
        total = plain.filtered(torch.ones(pixels, 1, device=device)) * share
        # Splatting and slicing each multiply by the weights, so each gets the root of every factor.
        weights = weights * (compat * share) ** 0.5 * (total + 1e-20).rsqrt()
        return cls(*_products(vertices, weights, len(known)), neighbours)

    def filtered(self, values: torch.Tensor) -> torch.Tensor:
        """Sum `values`, (N, L), over all pixels with the kernel's weights."""
        blurred = self.splat @ values
        for before, after in self.neighbours:
            padded = torch.nn.functional.pad(blurred, (0, 0, 0, 1))
            blurred = blurred + 0.5 * (padded[before] + padded[after])
        return self.slice @ blurred


def _simplices(features: torch.Tensor, radix: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Find the simplex around each pixel: its vertices' keys and weights, each (N, D + 1)."""
    dimensions, corners = len(features), len(features) + 1
    scale = lattice_scale(dimensions)
    moved = [row * float(factor) for row, factor in zip(features, scale, strict=True)]
    total = torch.zeros_like(features[0])
    elevated: list[torch.Tensor] = []
    for axis in range(dimensions, 0, -1):
        elevated.insert(0, total - axis * moved[axis - 1])
        total = total + moved[axis - 1]
    e = torch.stack([total, *elevated])  # (D + 1, N)
    nearest = (e * float(np.float32(1) / np.float32(corners))).round()
    heights = e - nearest * corners
    rank = nearest.sum(dim=0).long().expand(corners, -1).clone()
    for j in range(dimensions):
        below = heights[j] < heights[j + 1 :]
        rank[j] += below.sum(dim=0)
        rank[j + 1 :] += ~below
    turn = (rank < 0).long() - (rank > dimensions).long()
    rank += turn * corners
    first = (nearest.long() + turn) * corners
    heights = (e - first) * float(np.float32(1) / np.float32(corners))
    order = dimensions - rank  # a permutation of 0 to D for each pixel
    sorted_heights = torch.empty_like(heights).scatter_(0, order, heights)
    steps = torch.empty_like(order).scatter_(0, order, radix[:, None].expand_as(order))
    weights = sorted_heights.diff(dim=0, prepend=sorted_heights[-1:] - 1)
    ways = (radix.sum() - corners * steps[:-1]).cumsum(dim=0)
    start = (first * radix[:, None]).sum(dim=0, keepdim=True)
    return torch.cat([start, start + ways]).T.contiguous(), weights.T.contiguous()


def _neighbours(known: torch.Tensor, radix: torch.Tensor) -> torch.Tensor:
    step = (len(radix) * radix - radix.sum())[:, None, None]
    wanted = known + step * torch.tensor([[1], [-1]], device=known.device)  # (D + 1, 2, M)
    found = torch.searchsorted(known, wanted).clamp(max=len(known) - 1)
    return torch.where(known[found] == wanted, found, len(known))


def _products(
    vertices: torch.Tensor, weights: torch.Tensor, count: int
) -> tuple[torch.Tensor, torch.Tensor]:
    pixels, corners = vertices.shape
    flat, order = vertices.flatten().sort(stable=True)
    ends = torch.searchsorted(flat, torch.arange(count + 1, device=flat.device))
    starts = torch.arange(0, corners * pixels + 1, corners, device=flat.device)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Sparse", UserWarning)  # torch calls the format a beta
        return (
            torch.sparse_csr_tensor(
                ends, order // corners, weights.flatten()[order], (count, pixels)
            ),
            torch.sparse_csr_tensor(starts, vertices.flatten(), weights.flatten(), (pixels, count)),
        )
