"""The permutohedral lattice in numba: Gaussian sums over all pairs of pixels, in linear time.

Adams, Baek & Davis, "Fast high-dimensional filtering using the permutohedral lattice", 2010. The
numbers are those of `pydensecrf`: the same scale, rounding, order of the axes and blur. What is
faster: a vertex is one packed integer, pixels are placed in blocks that the processor computes side
by side, and the kernel's normalisation is part of the weights.
"""

from __future__ import annotations

from dataclasses import dataclass

import numba
import numpy as np
from numba import njit

from rca.labels.crf_kernels import key_radix, lattice_scale, slice_share, with_origin

# Four labels are computed as one vector; the passes of mean field take a third longer without.
numba.config.SLP_VECTORIZE = 1  # type: ignore[attr-defined]

F = np.float32
U = np.uint64
Array = np.ndarray  # numba infers its own types; the annotations are for people
Radix = tuple[int, ...]
BLOCK = 64  # pixels; their intermediate values stay in the first cache
BITS = 12  # of the table that finds vertices, at first
SPREAD = U(0x9E3779B97F4A7C15)  # 2**64 / golden ratio: multiplicative hashing


@dataclass(frozen=True)
class Lattice:
    """The vertices that each pixel touches, (N, D + 1), with its weights, and their neighbours.

    `neighbours`, (D + 1, M, 2), holds M where a vertex has none; row M of the values stays zero.
    """

    vertices: np.ndarray
    weights: np.ndarray
    neighbours: np.ndarray

    def zeros(self, width: int) -> np.ndarray:
        """Make the values of no label at all, float32 (M + 1, width)."""
        return np.zeros((self.neighbours.shape[1] + 1, width), F)


def gaussian_lattice(features: np.ndarray, compat: float) -> Lattice:
    """Build the lattice of a Gaussian kernel, normalised symmetrically and times `compat`.

    Args:
        features: The pixels' positions in units of the kernel's width, float32 (D, N).
        compat: The weight of the kernel, positive.

    Raises:
        ConfigError: The positions span more vertices than a key can number.
    """
    scale, share = lattice_scale(len(features)), slice_share(len(features))
    pixels = features.shape[1]
    vertices, weights, neighbours = _build(with_origin(features), key_radix(features), scale)
    vertices, weights = vertices[:pixels], weights[:pixels]
    lattice = Lattice(vertices, weights, neighbours)
    _normalise(vertices, weights, neighbours, lattice.zeros(4), F(share), F(compat))
    return lattice


@njit(cache=True, nogil=True)
def _find(key: int, keys: Array, ids: Array, shift: U) -> tuple[U, int]:
    place = (U(key) * SPREAD) >> shift
    while ids[place] >= 0 and keys[place] != key:
        place = (place + U(1)) & U(ids.size - 1)
    return place, ids[place]


@njit(cache=True, nogil=True)
def _double(
    known: Array, count: int, keys: Array, ids: Array, shift: U
) -> tuple[Array, Array, Array, U]:
    more_keys, more_ids = np.empty(2 * ids.size, np.int64), np.full(2 * ids.size, -1, np.int32)
    for i in range(count):
        place, _ = _find(known[i], more_keys, more_ids, shift - U(1))
        more_keys[place], more_ids[place] = known[i], i
    more_known = np.empty(ids.size, np.int64)
    more_known[:count] = known[:count]
    return more_known, more_keys, more_ids, shift - U(1)


@njit(cache=True, nogil=True)
def _elevate(
    features: Array, start: int, scale: Array, e: Array, rem: Array, rank: Array, turns: Array
) -> None:
    """Lift a block of pixels onto the lattice's plane, and find the nearest vertex of colour 0."""
    d, size = features.shape[0], min(BLOCK, features.shape[1] - start)
    e[0], turns[:] = 0, 0
    for j in range(d, 0, -1):
        for i in range(size):
            moved = features[j - 1, start + i] * scale[j - 1]
            e[j, i] = e[0, i] - F(j) * moved
            e[0, i] += moved
    corners = F(d + 1)
    inverse = F(1) / corners
    for j in range(d + 1):
        for i in range(BLOCK):
            nearest = np.rint(inverse * e[j, i])
            rem[j, i] = nearest * corners
            turns[i] += np.int32(nearest)
    for j in range(d + 1):
        rank[j] = turns


@njit(cache=True, nogil=True)
def _sort(radix: Radix, e: Array, rem: Array, rank: Array, base: Array) -> None:
    """Rank the distances to that vertex, and move it to where its simplex holds the pixel."""
    d, corners = len(radix) - 1, F(len(radix))
    inverse = F(1) / corners
    for j in range(d):
        for k in range(j + 1, d + 1):
            for i in range(BLOCK):
                below = np.int32((e[j, i] - rem[j, i]) < (e[k, i] - rem[k, i]))
                rank[j, i] += below
                rank[k, i] += np.int32(1) - below
    base[:] = 0
    for j in range(d + 1):
        for i in range(BLOCK):
            turn = np.int32(rank[j, i] < 0) - np.int32(rank[j, i] > d)
            rank[j, i] += turn * np.int32(d + 1)
            rem[j, i] += F(turn) * corners
            e[j, i] = (e[j, i] - rem[j, i]) * inverse
            base[i] += np.int64(np.int32(rem[j, i])) * radix[j]


@njit(cache=True, nogil=True)
def _walk(radix: Radix, e: Array, rank: Array, base: Array, keys: Array, weights: Array) -> None:
    """Walk from each pixel's first vertex around its simplex: keys and weights, (BLOCK, D + 1)."""
    d1, ones = len(radix), np.int64(0)
    for j in range(d1):
        ones += radix[j]
    for j in range(d1):
        for i in range(BLOCK):
            order = U(d1 - 1 - rank[j, i])
            weights[U(i), order], keys[U(i), order] = e[j, i], ones - d1 * radix[j]
    for i in range(BLOCK):
        here, key, height = U(i), base[i], weights[U(i), U(d1 - 1)] - F(1)
        for r in range(d1):
            corner = U(r)
            step, next_height = keys[here, corner], weights[here, corner]
            keys[here, corner], weights[here, corner] = key, next_height - height
            key += step
            height = next_height


@njit(cache=True, nogil=True)
def _build(features: Array, radix: Radix, scale: Array) -> tuple[Array, Array, Array]:
    """Place the pixels; number vertices in the order of visit, so that near ones are close."""
    d1, n = len(radix), features.shape[1]
    vertices, weights = np.empty((n, d1), np.uint32), np.empty((n, d1), F)
    keys, ids = np.empty(1 << BITS, np.int64), np.full(1 << BITS, -1, np.int32)
    known, count, shift = np.empty(1 << BITS, np.int64), 0, U(64 - BITS)
    e, rem = np.zeros((d1, BLOCK), F), np.zeros((d1, BLOCK), F)
    rank, turns = np.zeros((d1, BLOCK), np.int32), np.zeros(BLOCK, np.int32)
    base, around = np.zeros(BLOCK, np.int64), np.zeros((BLOCK, d1), np.int64)
    shares = np.zeros((BLOCK, d1), F)
    for start in range(0, n, BLOCK):
        _elevate(features, start, scale, e, rem, rank, turns)
        _sort(radix, e, rem, rank, base)
        _walk(radix, e, rank, base, around, shares)
        for i in range(min(BLOCK, n - start)):
            p, here = U(start + i), U(i)
            for r in range(d1):
                key = around[here, U(r)]
                weights[p, U(r)] = shares[here, U(r)]
                if i > 0 and key == around[U(i - 1), U(r)]:  # adjacent pixels share most vertices
                    vertices[p, U(r)] = vertices[U(start + i - 1), U(r)]
                    continue
                place, vertex = _find(key, keys, ids, shift)
                if vertex < 0:
                    vertex = count
                    keys[place], ids[place], known[count] = key, count, key
                    count += 1
                    if 2 * count >= ids.size:
                        known, keys, ids, shift = _double(known, count, keys, ids, shift)
                vertices[p, U(r)] = vertex
    return vertices, weights, _neighbours(known, count, radix, keys, ids, shift)


@njit(cache=True, nogil=True)
def _neighbours(known: Array, count: int, radix: Radix, keys: Array, ids: Array, shift: U) -> Array:
    d1, ones = len(radix), np.int64(0)
    for j in range(d1):
        ones += radix[j]
    neighbours = np.full((d1, count, 2), count, np.uint32)
    for j in range(d1):
        for i in range(count):
            _, vertex = _find(known[i] + d1 * radix[j] - ones, keys, ids, shift)
            if vertex >= 0:
                neighbours[j, i, 0], neighbours[j, vertex, 1] = vertex, i
    return neighbours


@njit(cache=True, nogil=True)
def blur(values: Array, other: Array, neighbours: Array) -> None:
    """Blur `values`, (M + 1, 4 n), along all axes, in place; `other` is memory of that shape."""
    source, target = values, other
    for j in range(neighbours.shape[0]):
        for i in range(neighbours.shape[1]):
            before, after, here = neighbours[j, i, 0], neighbours[j, i, 1], U(i)
            for block in range(0, values.shape[1], 4):
                for k in range(4):
                    c = U(block + k)
                    pair = source[before, c] + source[after, c]
                    target[here, c] = source[here, c] + F(0.5) * pair
        source, target = target, source
    if neighbours.shape[0] % 2:
        values[:] = other


@njit(cache=True, nogil=True)
def _normalise(
    vertices: Array, weights: Array, neighbours: Array, values: Array, share: F, compat: F
) -> None:
    # Splatting and slicing each multiply by the weights, so each gets the root of every factor.
    for p in range(vertices.shape[0]):
        for j in range(vertices.shape[1]):
            values[vertices[p, j], 0] += weights[p, j]
    blur(values, np.zeros_like(values), neighbours)
    for p in range(vertices.shape[0]):
        total = F(0)
        for j in range(vertices.shape[1]):
            total += weights[p, j] * values[vertices[p, j], 0]
        factor = F(np.sqrt(compat * share) / np.sqrt(total * share + F(1e-20)))
        for j in range(vertices.shape[1]):
            weights[p, j] *= factor
