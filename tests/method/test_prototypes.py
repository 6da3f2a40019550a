from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from sklearn.cluster import KMeans

from rca.method.numerics import unit
from rca.method.prototypes import fit_prototypes, random_prototypes, spherical_kmeans

C, M, D, K = 3, 60, 8, 5


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def a_memory(seed: int = 0) -> torch.Tensor:
    """Rows like features after a ReLU: loose clusters, no negative values."""
    draws = seeded(seed)
    centres = 3 * torch.randn(C, 7, D, generator=draws, dtype=torch.float64)
    which = torch.randint(7, (C, M), generator=draws)
    noise = torch.randn(C, M, D, generator=draws, dtype=torch.float64)
    return (centres.gather(1, which[..., None].expand(-1, -1, D)) + noise).relu()


FULL = torch.ones(C, M, dtype=torch.bool)
# 40 slots of the first class, 5 of the second, 4 of the third: too few.
PARTLY = torch.arange(M) < torch.tensor([40, 5, 4])[:, None]


def inertia(points: torch.Tensor, centroids: torch.Tensor) -> float:
    return torch.cdist(points, centroids).amin(dim=1).square().sum().item()


def test_fit_prototypes__inertia_is_close_to_scikit_learn() -> None:
    ours, oracle = 0.0, 0.0
    for seed in range(4):
        memory = a_memory(seed)
        prototypes, valid = fit_prototypes(memory, FULL, K, seeded(seed))
        assert valid.all()
        for c in range(C):
            ours += inertia(memory[c], prototypes[c])
            oracle += KMeans(K, n_init=10, random_state=0).fit(memory[c].numpy()).inertia_
    assert ours == pytest.approx(oracle, rel=0.02)


def test_fit_prototypes__from_the_same_start_gives_scikit_learn_s_centroids() -> None:
    memory = a_memory()
    start = memory[:, :K].clone()
    prototypes, _ = fit_prototypes(memory, FULL, K, seeded(), previous=start)
    for c in range(C):
        oracle = KMeans(K, init=start[c].numpy(), n_init=1, tol=0, max_iter=100)
        centroids = oracle.fit(memory[c].numpy()).cluster_centers_
        np.testing.assert_allclose(prototypes[c].numpy(), centroids, rtol=1e-9, atol=1e-12)


def test_fit_prototypes__finds_clusters_far_apart() -> None:
    centres = 100 * torch.eye(K, D).double()
    which = torch.arange(C * M).view(C, M) % K
    memory = centres[which] + torch.randn(C, M, D, generator=seeded()).double()
    prototypes, _ = fit_prototypes(memory, FULL, K, seeded())
    for c in range(C):
        means = [memory[c][which[c] == k].mean(dim=0) for k in range(K)]
        nearest = torch.cdist(torch.stack(means), prototypes[c]).min(dim=1)
        assert sorted(nearest.indices.tolist()) == list(range(K))
        assert nearest.values.max() < 1e-9


# The example: a point alone in its cell was the farthest, and left an empty cell empty.
@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), k=st.integers(1, 6), warm=st.booleans())
@example(seed=116, k=5, warm=True)
def test_fit_prototypes__each_is_the_mean_of_the_points_nearest_to_it(
    seed: int, k: int, warm: bool
) -> None:
    draws = seeded(seed)
    memory = torch.randn(2, 12, 3, generator=draws, dtype=torch.float64)
    filled = torch.rand(2, 12, generator=draws) > 0.3
    previous = torch.randn(2, k, 3, generator=draws).double() if warm else None
    prototypes, valid = fit_prototypes(memory, filled, k, draws, previous)
    for c in range(2):
        points = memory[c][filled[c]]
        if len(points) < k:
            continue
        assert valid[c].all()
        nearest = torch.cdist(points, prototypes[c]).argmin(dim=1)
        for number in range(k):
            assert (nearest == number).any()
            torch.testing.assert_close(prototypes[c, number], points[nearest == number].mean(dim=0))


def test_fit_prototypes__classes_with_too_few_regions_are_left_out() -> None:
    prototypes, valid = fit_prototypes(a_memory(), PARTLY, K, seeded())
    assert valid.tolist() == [[True] * K, [True] * K, [False] * K]
    assert not prototypes[2].any()


def test_fit_prototypes__as_many_regions_as_prototypes_are_the_prototypes() -> None:
    memory = a_memory()
    prototypes, _ = fit_prototypes(memory, PARTLY, K, seeded())
    assert torch.cdist(memory[1, :K], prototypes[1]).amin(dim=1).max() < 1e-6


def test_fit_prototypes__classes_left_out_keep_what_they_had() -> None:
    previous = torch.randn(C, K, D, generator=seeded(1)).double()
    was_valid = torch.tensor([[False] * K, [True] * K, [True] * K])
    kept = previous.clone()
    prototypes, valid = fit_prototypes(a_memory(), PARTLY, K, seeded(), previous, was_valid)
    assert torch.equal(prototypes[2], previous[2])
    assert valid.all()
    assert torch.equal(previous, kept)  # not written to
    assert not torch.equal(prototypes[:2], previous[:2])


def test_fit_prototypes__starts_from_valid_previous_prototypes_only() -> None:
    memory = a_memory()
    start = memory[:, :K].clone()
    cold, _ = fit_prototypes(memory, FULL, K, seeded())
    valid = torch.tensor([[True] * K, [True] * (K - 1) + [False], [False] * K])
    mixed, _ = fit_prototypes(memory, FULL, K, seeded(), start, valid)
    warm, _ = fit_prototypes(memory, FULL, K, seeded(), start)
    torch.testing.assert_close(mixed[0], warm[0])
    torch.testing.assert_close(mixed[1:], cold[1:])
    assert not torch.allclose(warm[0], cold[0])


def test_fit_prototypes__refitting_the_same_memory_changes_nothing() -> None:
    memory = a_memory()
    once, valid = fit_prototypes(memory, PARTLY, K, seeded(0))
    twice, still = fit_prototypes(memory, PARTLY, K, seeded(1), once, valid)
    torch.testing.assert_close(twice, once)
    assert torch.equal(still, valid)


def test_fit_prototypes__what_unfilled_slots_hold_does_not_matter() -> None:
    memory = a_memory()
    rubbish = torch.where(PARTLY[..., None], memory, 1e6)
    for before, after in zip(
        fit_prototypes(memory, PARTLY, K, seeded()),
        fit_prototypes(rubbish, PARTLY, K, seeded()),
        strict=True,
    ):
        assert torch.equal(before, after)


def test_fit_prototypes__empty_centroids_move_to_the_farthest_points() -> None:
    # All points are nearest to the first centroid; 9 and -7 are farthest from it.
    memory = torch.tensor([0.0, 0.5, -0.5, 9.0, 0.2, -7.0]).view(1, 6, 1)
    start = torch.tensor([0.0, 100.0, -100.0]).view(1, 3, 1)
    filled = torch.ones(1, 6, dtype=torch.bool)
    moved, _ = fit_prototypes(memory, filled, 3, seeded(), start, iterations=1)
    torch.testing.assert_close(moved.flatten(), torch.tensor([2.2 / 6, 9.0, -7.0]))
    settled, _ = fit_prototypes(memory, filled, 3, seeded(), start)
    torch.testing.assert_close(settled.flatten(), torch.tensor([0.05, 9.0, -7.0]))


def test_fit_prototypes__fewer_different_regions_than_prototypes() -> None:
    memory = torch.tensor([1.0, 4.0, 1.0, 4.0, 1.0, 4.0]).view(1, 6, 1).expand(1, 6, 3)
    prototypes, valid = fit_prototypes(memory, torch.ones(1, 6, dtype=torch.bool), 4, seeded())
    assert valid.all()
    torch.testing.assert_close(prototypes.unique(), torch.tensor([1.0, 4.0]))


def test_fit_prototypes__same_seed_same_bytes() -> None:
    memory = a_memory().float()
    one, two = (fit_prototypes(memory, PARTLY, K, seeded(3))[0] for _ in range(2))
    assert torch.equal(one, two)


def test_fit_prototypes__large_offsets_lose_no_digits() -> None:
    memory = a_memory().float()
    near, _ = fit_prototypes(memory, FULL, K, seeded())
    far, _ = fit_prototypes(memory + 4096, FULL, K, seeded())
    torch.testing.assert_close(far - 4096, near, atol=2e-3, rtol=0)


def test_fit_prototypes__greedy_seeds_beat_plain_ones() -> None:
    """Seeds alone, before any Lloyd round, against k-means++ without trials."""
    memory = a_memory()
    greedy, plain = 0.0, 0.0
    for seed in range(20):
        seeds, _ = fit_prototypes(memory, FULL, K, seeded(seed), restarts=1, iterations=0)
        for c in range(C):
            greedy += inertia(memory[c], seeds[c])
            rng = np.random.RandomState(seed)
            chosen = [memory[c, rng.randint(M)]]
            while len(chosen) < K:
                distance = torch.cdist(memory[c], torch.stack(chosen)).amin(dim=1).square()
                pick = rng.choice(M, p=(distance / distance.sum()).numpy())
                chosen.append(memory[c, pick])
            plain += inertia(memory[c], torch.stack(chosen))
    assert greedy < 0.85 * plain  # 0.91 with a single trial


def test_fit_prototypes__restarts_lower_the_inertia() -> None:
    memory = a_memory()
    totals = []
    for restarts in (1, 2, 4, 8):
        fits = [fit_prototypes(memory, FULL, K, seeded(s), restarts=restarts)[0] for s in range(5)]
        totals.append(sum(inertia(memory[c], fit[c]) for fit in fits for c in range(C)))
    assert totals == sorted(totals, reverse=True)
    assert totals[-1] < 0.97 * totals[0]


def test_fit_prototypes__no_class_has_enough() -> None:
    prototypes, valid = fit_prototypes(a_memory(), FULL, M + 1, seeded())
    assert not valid.any()
    assert prototypes.shape == (C, M + 1, D)


def test_fit_prototypes__half_precision_is_computed_in_full() -> None:
    memory = a_memory().bfloat16()
    half, full = (fit_prototypes(m, FULL, K, seeded())[0] for m in (memory, memory.float()))
    assert torch.equal(half, full)


def test_fit_prototypes__on_every_device(device) -> None:
    memory = a_memory()
    on_device, valid = fit_prototypes(memory.to(device), PARTLY.to(device), K, seeded())
    on_cpu, _ = fit_prototypes(memory, PARTLY, K, seeded())
    assert valid.device.type == device.type
    torch.testing.assert_close(on_device.cpu(), on_cpu)


def test_fit_prototypes__refuses_previous_ones_that_do_not_fit() -> None:
    with pytest.raises(ValueError, match=r"previous prototypes are \(3, 4, 8\), expected"):
        fit_prototypes(a_memory(), FULL, K, seeded(), torch.zeros(C, K - 1, D))


def test_random_prototypes__rows_are_different_filled_rows_of_the_class() -> None:
    memory = a_memory()
    prototypes, valid = random_prototypes(memory, PARTLY, K, seeded(), "rows")
    assert valid.tolist() == [[True] * K, [True] * K, [False] * K]
    for c in (0, 1):
        same = (prototypes[c][:, None] == memory[c][PARTLY[c]]).all(dim=2)
        assert same.any(dim=1).all()
        assert len(prototypes[c].unique(dim=0)) == K
    assert not prototypes[2].any()
    none, invalid = random_prototypes(memory, FULL, M + 1, seeded(), "rows")
    assert none.shape == (C, M + 1, D)
    assert not invalid.any()


def test_random_prototypes__noise_is_as_strong_as_the_memory() -> None:
    memory = torch.full((C, M, D), 4.0)
    memory[~PARTLY] = 1e6
    prototypes, valid = random_prototypes(memory, PARTLY, 200, seeded(), "noise")
    assert valid.all()
    assert prototypes.square().mean().sqrt().item() == pytest.approx(4.0, rel=0.05)
    empty, _ = random_prototypes(memory, torch.zeros_like(PARTLY), 200, seeded(), "noise")
    assert empty.square().mean().sqrt().item() == pytest.approx(1.0, rel=0.05)


def test_random_prototypes__refuses_unknown_sources() -> None:
    with pytest.raises(ValueError, match="random prototypes 'images': use 'noise' or 'rows'"):
        random_prototypes(a_memory(), FULL, K, seeded(), "images")


def sphere(count: int, seed: int = 0) -> torch.Tensor:
    return unit(torch.randn(count, 3, generator=seeded(seed), dtype=torch.float64))


def likeness(points: torch.Tensor, directions: torch.Tensor) -> float:
    return (points @ directions.T).amax(dim=1).mean().item()


def test_spherical_kmeans__is_as_good_as_the_best_of_all_partitions() -> None:
    points = sphere(9)
    best = max(
        sum(points[torch.tensor(part) == k].sum(0).norm().item() for k in (0, 1)) / 9
        for part in itertools.product((0, 1), repeat=9)
    )
    found = spherical_kmeans(points, 2, seeded(), restarts=8)
    assert likeness(points, found) == pytest.approx(best, abs=1e-9)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), k=st.integers(1, 6))
def test_spherical_kmeans__directions_have_length_1_and_beat_their_start(seed: int, k: int) -> None:
    points, start = sphere(20, seed), sphere(k, seed + 1)
    found = spherical_kmeans(points, k, seeded(seed), start, restarts=1)
    assert found.shape == (k, 3)
    torch.testing.assert_close(found.norm(dim=1), torch.ones(k, dtype=torch.float64))
    assert likeness(points, found) >= likeness(points, start) - 1e-9
    again = spherical_kmeans(points, k, seeded(seed), start, restarts=1)
    assert torch.equal(found, again)


def test_spherical_kmeans__a_good_start_is_not_lost_to_one_bad_draw() -> None:
    points = sphere(20)
    start = spherical_kmeans(points, 4, seeded(), restarts=30)
    cold, warm = (
        [likeness(points, spherical_kmeans(points, 4, seeded(s), given, 1)) for s in range(10)]
        for given in (None, start)
    )
    assert min(cold) < likeness(points, start) - 1e-3
    assert min(warm) >= likeness(points, start) - 1e-9
    fewer = [likeness(points, spherical_kmeans(points, 4, seeded(s), start[:3], 1)) for s in (0, 1)]
    assert fewer == cold[:2]  # a start of another number is ignored


def test_spherical_kmeans__one_cluster_is_the_mean_direction() -> None:
    points = sphere(20)
    found = spherical_kmeans(points, 1, seeded())
    torch.testing.assert_close(found[0], unit(points.mean(dim=0)))


def test_spherical_kmeans__of_few_or_equal_points() -> None:
    few = sphere(2)
    assert torch.cdist(spherical_kmeans(few, 5, seeded()), few).amin(dim=0).max() < 1e-9
    equal = few[:1].expand(6, -1)
    assert torch.cdist(spherical_kmeans(equal, 3, seeded()), few[:1]).max() < 1e-7


def test_spherical_kmeans__an_empty_cluster_moves_to_the_points_least_like_their_own(
    monkeypatch,
) -> None:
    points = unit(torch.tensor([[1.0, 0.0], [1.0, 0.1], [0.0, 1.0], [-1.0, 0.2]]))
    seeds = unit(torch.tensor([[0.1, 1.0], [0.0, -1.0], [-0.1, -1.0]]))  # all are like the first
    monkeypatch.setattr("rca.method.prototypes._greedy_seeds", lambda *_: seeds[None])
    moved = spherical_kmeans(points, 3, seeded(), restarts=1, iterations=1)
    torch.testing.assert_close(moved, torch.stack([unit(points.sum(0)), points[3], points[0]]))
    settled = spherical_kmeans(points, 3, seeded(), restarts=1)
    means = torch.stack([points[2], points[3], unit(points[:2].sum(0))])
    torch.testing.assert_close(settled, means)


def test_spherical_kmeans__half_precision_is_computed_in_full() -> None:
    points = sphere(20).bfloat16()
    half, full = (spherical_kmeans(p, 3, seeded()) for p in (points, points.float()))
    assert torch.equal(half, full)


def test_spherical_kmeans__restarts_raise_the_likeness() -> None:
    totals = []
    for restarts in (1, 4, 16):
        fits = [(sphere(20, s), spherical_kmeans(sphere(20, s), 4, seeded(s), restarts=restarts))
                for s in range(10)]  # fmt: skip
        totals.append(sum(likeness(points, found) for points, found in fits))
    assert totals[0] < totals[1] < totals[2]
