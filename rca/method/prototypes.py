"""Prototypes Q: the K-means centroids of each class's memory, all classes at once.

`spherical_kmeans` is the counterpart for directions: points of length 1, compared by cosine.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

from rca.method.numerics import full_precision, unit

Source = Literal["noise", "rows"]


@full_precision
@torch.no_grad()
def fit_prototypes(
    memory: Tensor,
    filled: Tensor,
    k: int,
    generator: torch.Generator,
    previous: Tensor | None = None,
    previous_valid: Tensor | None = None,
    restarts: int = 4,
    iterations: int = 100,
) -> tuple[Tensor, Tensor]:
    """Fit K centroids to each class that has at least K filled slots; other classes keep theirs.

    Lloyd's algorithm starts from greedy k-means++ seeds (as in scikit-learn), or from `previous`
    where all of a class's prototypes are valid. Equal distances go to the lower index. A centroid
    that loses all its points moves to the point that is farthest from its own centroid; if there
    are several, they take the next farthest.

    Differs from the released code: seeded, and never fitted to slots that hold no region.

    Args:
        memory: The memory, (C, M, D).
        filled: Which slots are filled, bool (C, M).
        k: K, the number of prototypes per class.
        generator: The generator of the seeds.
        previous: The prototypes so far, (C, K, D).
        previous_valid: Which of these are valid, bool (C, K). None means all.
        restarts: The number of seedings tried; the result with the least inertia is kept.
        iterations: The largest number of rounds. Fitting ends as soon as no point changes its
            centroid.

    Returns:
        The prototypes, (C, K, D), and which are valid, bool (C, K).

    Raises:
        ValueError: `previous` does not fit the memory and K.
    """
    shape = (memory.shape[0], k, memory.shape[2])
    if previous is None:
        previous, previous_valid = memory.new_zeros(shape), filled.new_zeros(shape[:2])
    elif previous_valid is None:
        previous_valid = filled.new_ones(shape[:2])
    if previous.shape != shape:
        raise ValueError(f"previous prototypes are {tuple(previous.shape)}, expected {shape}")
    fitted = filled.sum(dim=1) >= k  # (C,)
    prototypes, valid = previous.clone(), previous_valid.clone()
    if fitted.any():
        start, warm = previous[fitted], previous_valid[fitted].all(dim=1)
        prototypes[fitted] = _best_of(
            restarts, memory[fitted], filled[fitted], start, warm, generator, iterations
        )
        valid[fitted] = True
    return prototypes, valid


@full_precision
@torch.no_grad()
def spherical_kmeans(
    points: Tensor,
    k: int,
    generator: torch.Generator,
    start: Tensor | None = None,
    restarts: int = 4,
    iterations: int = 50,
) -> Tensor:
    """Compute the mean directions of K clusters, by cosine similarity.

    Lloyd's algorithm runs from several greedy k-means++ seeds and from `start`. The result with the
    highest mean similarity of the points to their nearest direction is kept, so it is never worse
    than `start`. This is hard EM for a mixture of von Mises-Fisher distributions of one
    concentration (Banerjee et al., JMLR 2005).

    Args:
        points: The points, (N, D), each of length 1.
        k: K, the number of clusters. With fewer points, there are as many clusters as points.
        generator: The generator of the seeds.
        start: The directions at which one more run starts, (K', D). Ignored unless K' is K.
        restarts: The number of runs from fresh seeds.
        iterations: The largest number of rounds in a run. It ends as soon as no point changes its
            cluster.

    Returns:
        The directions, (min(K, N), D), each of length 1.
    """
    k = min(k, len(points))
    every = points.new_ones(1, len(points), dtype=torch.bool)
    starts = [_greedy_seeds(points[None], every, k, generator)[0] for _ in range(restarts)]
    if start is not None and start.shape == starts[0].shape:
        starts.append(start.to(points))
    runs = [_spherical_lloyd(points, seeds, iterations) for seeds in starts]
    return max(runs, key=lambda run: run[1])[0]


def _spherical_lloyd(points: Tensor, directions: Tensor, iterations: int) -> tuple[Tensor, float]:
    """Run Lloyd's algorithm until no point changes its direction, for `iterations` at most.

    Returns:
        The directions, (K, D), and the mean similarity of the points to the nearest.
    """
    cells = None
    for _ in range(iterations):
        similarity, nearest = (points @ directions.T).max(dim=1)
        if cells is not None and torch.equal(nearest, cells):
            break
        cells = nearest
        member = torch.nn.functional.one_hot(cells, len(directions)).to(points.dtype)
        directions = unit(member.T @ points)
        empty = (member.sum(dim=0) == 0).nonzero()[:, 0]
        if len(empty):  # each takes one of the points least similar to their own direction
            directions[empty] = points[similarity.argsort(stable=True)[: len(empty)]]
    return directions, float((points @ directions.T).amax(dim=1).mean())


@full_precision
@torch.no_grad()
def random_prototypes(
    memory: Tensor, filled: Tensor, k: int, generator: torch.Generator, source: Source
) -> tuple[Tensor, Tensor]:
    """Draw prototypes without clustering: the control that tells whether clusters matter.

    Args:
        memory: The memory, (C, M, D).
        filled: Which slots are filled, bool (C, M).
        k: K, the number of prototypes per class.
        generator: The generator of the draw.
        source: `noise` is normal, with the root mean square of the filled rows (1 with none); all
            prototypes are valid. `rows` is K different filled rows of the class; classes with fewer
            have none.

    Returns:
        The prototypes, (C, K, D), and which are valid, bool (C, K).

    Raises:
        ValueError: The source is unknown.
    """
    classes, slots, channels = memory.shape
    device = generator.device
    if source == "noise":
        noise = torch.randn(classes, k, channels, generator=generator, device=device).to(memory)
        strength = memory[filled].square().mean().sqrt() if filled.any() else 1.0
        return noise * strength, filled.new_ones(classes, k)
    if source != "rows":
        raise ValueError(f"source of random prototypes {source!r}: use 'noise' or 'rows'")
    lots = torch.rand(classes, max(slots, k), generator=generator, device=device)
    lots = lots[:, :slots].to(memory.device).masked_fill(~filled, -1)
    rows = _take(memory, lots.argsort(dim=1, descending=True)[:, :k])
    enough = (filled.sum(dim=1) >= k)[:, None]  # (C, 1)
    prototypes = memory.new_zeros(classes, k, channels)
    prototypes[:, : rows.shape[1]] = rows
    return prototypes * enough[..., None], enough.repeat(1, k)


def _best_of(
    restarts: int,
    points: Tensor,
    filled: Tensor,
    start: Tensor,
    warm: Tensor,
    generator: torch.Generator,
    iterations: int,
) -> Tensor:
    """Compute centroids (C, K, D) of the filled points; `warm` classes start at `start`."""
    # Distances are differences of squares. Centring at the mean keeps them from losing digits.
    mean = _mean(points, filled)  # (C, 1, D)
    points = (points - mean).masked_fill(~filled[..., None], 0)
    best, least = start, points.new_full(warm.shape, torch.inf)
    for _ in range(1 if warm.all() else restarts):
        seeds = _greedy_seeds(points, filled, start.shape[1], generator)
        seeds = torch.where(warm[:, None, None], start - mean, seeds)
        centroids, inertia = _lloyd(points, filled, seeds, iterations)
        best = torch.where((inertia < least)[:, None, None], centroids, best)
        least = torch.minimum(inertia, least)
    return best + mean


def _lloyd(
    points: Tensor, filled: Tensor, centroids: Tensor, iterations: int
) -> tuple[Tensor, Tensor]:
    """Run Lloyd's algorithm until no point changes its centroid, for `iterations` at most.

    Returns:
        The centroids, (C, K, D), and their inertia, (C,).
    """
    cells, squares = None, _squares(points)
    for _ in range(iterations):
        distance = _squared_distances(points, centroids, squares, _squares(centroids))
        nearest = distance.argmin(dim=2)  # (C, M)
        if cells is not None and torch.equal(nearest, cells):
            break
        cells = nearest
        centroids = _move(points, filled, cells, centroids.shape[1])
    distance = _squared_distances(points, centroids, squares, _squares(centroids))
    return centroids, distance.amin(dim=2).masked_fill(~filled, 0).sum(dim=1)


def _move(points: Tensor, filled: Tensor, cells: Tensor, k: int) -> Tensor:
    """Compute the means of the cells, (C, K, D), and move empty cells to the farthest points.

    Farthest from the new mean of their own cell: a point that is alone in its cell lies on that
    mean, and so cannot be taken to fill another.
    """
    member = (cells[..., None] == torch.arange(k, device=cells.device)) & filled[..., None]
    size = member.sum(dim=1)  # (C, K)
    total = torch.einsum("cmk,cmd->ckd", member.to(points.dtype), points)
    means = total / size.clamp_min(1)[..., None]
    empty = size == 0
    if not empty.any():
        return means
    distance = (points - _take(means, cells)).square().sum(dim=2)  # (C, M)
    farthest = distance.masked_fill(~filled, -1).argsort(dim=1, descending=True, stable=True)
    turn = (empty.cumsum(dim=1) - 1).clamp_min(0)  # (C, K)
    spare = _take(points, farthest.gather(1, turn))
    return torch.where(empty[..., None], spare, means)


def _greedy_seeds(points: Tensor, filled: Tensor, k: int, generator: torch.Generator) -> Tensor:
    """Draw seeds by greedy k-means++: of a few draws, keep the one that lowers inertia most.

    The draws are weighted by squared distance. Arthur & Vassilvitskii (2007) mention the trials in
    passing; scikit-learn takes as many.
    """
    classes = torch.arange(len(points), device=points.device)
    squares = _squares(points)
    weight = filled.double()
    closest = torch.full_like(points[..., 0], torch.inf)  # (C, M), to the nearest seed so far
    seeds = []
    for number in range(k):
        trials = 2 + int(math.log(k)) if number else 1
        candidates = _take(points, _draw(weight, trials, generator))  # (C, T, D)
        distance = _squared_distances(candidates, points, _squares(candidates), squares)
        distance = torch.minimum(distance, closest[:, None])
        distance = distance.masked_fill(~filled[:, None], 0)  # (C, T, M)
        best = distance.sum(dim=2).argmin(dim=1)  # (C,)
        seeds.append(candidates[classes, best])
        closest = distance[classes, best]
        spread_out = closest.sum(dim=1, keepdim=True) > 0
        weight = torch.where(spread_out, closest, filled.to(closest)).double()
    return torch.stack(seeds, dim=1)


def _draw(weight: Tensor, draws: int, generator: torch.Generator) -> Tensor:
    """Draw indices (C, draws), with replacement, in proportion to `weight`, (C, M)."""
    cumulative = weight.cumsum(dim=1)
    uniform = torch.rand(
        len(weight), draws, generator=generator, device=generator.device, dtype=torch.float64
    ).to(weight.device)
    index = torch.searchsorted(cumulative, uniform * cumulative[:, -1:], right=True)
    return index.clamp_max(weight.shape[1] - 1)


def _squared_distances(a: Tensor, b: Tensor, a_squares: Tensor, b_squares: Tensor) -> Tensor:
    """Compute the squared distances from (C, N, D) to (C, K, D), as (C, N, K).

    The squared lengths, (C, N) and (C, K), are given: those of the points stay the same.
    """
    squares = a_squares[..., None] + b_squares[:, None]
    return (squares - 2 * a @ b.mT).clamp_min(0)


def _squares(points: Tensor) -> Tensor:
    return points.square().sum(dim=2)


def _mean(points: Tensor, filled: Tensor) -> Tensor:
    total = torch.einsum("cm,cmd->cd", filled.to(points.dtype), points)
    return (total / filled.sum(dim=1, keepdim=True))[:, None]


def _take(points: Tensor, index: Tensor) -> Tensor:
    """Take the points (C, N, D) at `index`, (C, T), as (C, T, D)."""
    return points.gather(1, index[..., None].expand(-1, -1, points.shape[2]))
