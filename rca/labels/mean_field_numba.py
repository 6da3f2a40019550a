"""Mean field of the dense CRF in numba: the posteriors of `pydensecrf`, several times faster.

One pass over the pixels takes an iteration's end and the next one's start together: it slices the
blurred values of both kernels, normalises the pixel's posterior, and splats it.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numba import njit

from rca.config import Crf
from rca.labels.crf_kernels import colour_features, place_features
from rca.labels.lattice import BLOCK, Array, F, Lattice, U, blur, gaussian_lattice

Four = tuple[F, F, F, F]

PLACE, COLOUR = 3, 6  # vertices that a pixel touches in each kernel's lattice
NOTHING = F(-40)  # logarithm of a posterior that counts as 0; denormal numbers would be slow


def mean_field(image: np.ndarray, energy: np.ndarray, cfg: Crf) -> np.ndarray:
    """Compute the posteriors, float32 (L, H, W), as `pydensecrf` does.

    Args:
        image: The image, RGB, uint8 (H, W, 3).
        energy: The unary energies, float32 (L, H, W).
        cfg: The kernels and the number of iterations.

    Raises:
        ConfigError: The kernels are too narrow for the image.
    """
    labels, height, width = energy.shape
    place = place_lattice(height, width, cfg.gaussian_sxy, cfg.gaussian_compat)
    colour = gaussian_lattice(colour_features(image, cfg), cfg.bilateral_compat)
    fours = -(-labels // 4)
    logits = np.full((height * width, 4 * fours), -np.inf, F)
    logits[:, :labels] = -energy.reshape(labels, -1).T
    posteriors = _iterate(logits, place, colour, cfg.iterations)
    return np.ascontiguousarray(posteriors[:, :labels].T).reshape(energy.shape)


@lru_cache(maxsize=2)
def place_lattice(height: int, width: int, sxy: float, compat: float) -> Lattice:
    """Build the lattice of places, which images of one size share, landscape and portrait."""
    return gaussian_lattice(place_features(height, width, sxy), compat)


def _iterate(logits: np.ndarray, place: Lattice, colour: Lattice, iterations: int) -> np.ndarray:
    width = logits.shape[1]
    near, far = ([lattice.zeros(width) for _ in range(2)] for lattice in (place, colour))
    out, fours = np.empty_like(logits), (0,) * (width // 4)
    pixels = (place.vertices, place.weights, colour.vertices, colour.weights, logits)
    for turn in range(iterations + 1):
        if turn > 0:
            # The memory that a pass splats into next serves the blur first.
            blur(near[0], near[1], place.neighbours)
            blur(far[0], far[1], colour.neighbours)
        near[1][:], far[1][:] = 0, 0
        last = turn == iterations
        _pass(*pixels, near[0], far[0], near[1], far[1], out, turn > 0, last, fours)
        near.reverse()
        far.reverse()
    return out


@njit(cache=True, nogil=True, fastmath={"contract"})
def _gather(
    values: Array, vertices: Array, weights: Array, corners: int, p: U, c: U, sums: Four
) -> Four:
    s0, s1, s2, s3 = sums
    for j in range(corners):
        w, v = weights[p, U(j)], vertices[p, U(j)]
        s0 += w * values[v, c]
        s1 += w * values[v, c + U(1)]
        s2 += w * values[v, c + U(2)]
        s3 += w * values[v, c + U(3)]
    return s0, s1, s2, s3


@njit(cache=True, nogil=True, fastmath={"contract"})
def _scatter(
    values: Array, vertices: Array, weights: Array, corners: int, p: U, c: U, shares: Four
) -> None:
    s0, s1, s2, s3 = shares
    for j in range(corners):
        w, v = weights[p, U(j)], vertices[p, U(j)]
        t0 = values[v, c] + w * s0
        t1 = values[v, c + U(1)] + w * s1
        t2 = values[v, c + U(2)] + w * s2
        t3 = values[v, c + U(3)] + w * s3
        values[v, c], values[v, c + U(1)] = t0, t1
        values[v, c + U(2)], values[v, c + U(3)] = t2, t3


@njit(cache=True, nogil=True, fastmath={"contract"})
def _exponential(x: Array, powers: Array, bits: Array) -> None:
    """Replace `x`, not positive, by its exponential as in Cephes, or by 0 below `NOTHING`."""
    for i in range(x.size):
        held = max(x[i], NOTHING - F(1))
        n = np.floor(held * F(1.44269504088896341) + F(0.5))
        bits[i] = ((np.int32(n) + np.int32(127)) << np.int32(23)) if x[i] > NOTHING else np.int32(0)
        r = held - n * F(0.693359375) + n * F(2.12194440e-4)
        y = F(1.9875691500e-4)
        y = y * r + F(1.3981999507e-3)
        y = y * r + F(8.3334519073e-3)
        y = y * r + F(4.1665795894e-2)
        y = y * r + F(1.6666665459e-1)
        y = y * r + F(5.0000001201e-1)
        x[i] = y * r * r + r + F(1)
    for i in range(x.size):
        x[i] *= powers[i]


@njit(cache=True, nogil=True, fastmath={"contract"})
def _pass(
    v1: Array,
    w1: Array,
    v2: Array,
    w2: Array,
    logits: Array,
    near: Array,
    far: Array,
    next_near: Array,
    next_far: Array,
    out: Array,
    slicing: bool,
    last: bool,
    fours: tuple[int, ...],
) -> None:
    """Slice from `near` and `far`, normalise, and splat into the next ones, or write to `out`."""
    width = 4 * len(fours)  # known when compiled, so that the loops over labels unroll
    rows = np.zeros((BLOCK, width), F)
    flat, bits = rows.reshape(BLOCK * width), np.empty(BLOCK * width, np.int32)
    powers = bits.view(np.float32)
    for start in range(0, v1.shape[0], BLOCK):
        size = min(BLOCK, v1.shape[0] - start)
        for i in range(size):
            p, here = U(start + i), U(i)
            most = F(-np.inf)
            for four in range(len(fours)):
                c = U(4 * four)
                s = logits[p, c], logits[p, c + U(1)], logits[p, c + U(2)], logits[p, c + U(3)]
                if slicing:
                    s = _gather(far, v2, w2, COLOUR, p, c, _gather(near, v1, w1, PLACE, p, c, s))
                most = max(most, max(max(s[0], s[1]), max(s[2], s[3])))
                rows[here, c], rows[here, c + U(1)] = s[0], s[1]
                rows[here, c + U(2)], rows[here, c + U(3)] = s[2], s[3]
            for k in range(width):
                rows[here, U(k)] -= most
        _exponential(flat, powers, bits)
        for i in range(size):
            p, here = U(start + i), U(i)
            total = F(0)
            for k in range(width):
                total += rows[here, U(k)]
            share = F(1) / total
            for four in range(len(fours)):
                c = U(4 * four)
                s = (
                    rows[here, c] * share,
                    rows[here, c + U(1)] * share,
                    rows[here, c + U(2)] * share,
                    rows[here, c + U(3)] * share,
                )
                if last:
                    out[p, c], out[p, c + U(1)], out[p, c + U(2)], out[p, c + U(3)] = s
                else:
                    _scatter(next_near, v1, w1, PLACE, p, c, s)
                    _scatter(next_far, v2, w2, COLOUR, p, c, s)
