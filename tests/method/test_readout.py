"""The prototype readout: posteriors, regions, and the rounds that fit prototypes."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from paper import prototype_affinity

from rca.method.numerics import unit
from rca.method.readout import (
    UNSURE,
    Pixels,
    ReadoutSettings,
    cam_regions,
    first_regions,
    fit_label_prototypes,
    fit_readout,
    label_posterior,
    nearest_pixels,
    pixel_directions,
    posterior_regions,
    read_regions,
)

N, D, C, K = 30, 6, 3, 4
L = C + 1
SETTINGS = ReadoutSettings(
    prototypes=2,
    background_prototypes=3,
    temperature=0.07,
    background_weight=3.0,
    rounds=3,
    cam_foreground=0.5,
    cam_background=0.08,
    level=0.9,
    restarts=2,
    sample=1000,
)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def directions(count: int = N, seed: int = 0) -> torch.Tensor:
    return unit(torch.randn(count, D, generator=seeded(seed), dtype=torch.float64))


def prototypes(seed: int = 1) -> tuple[torch.Tensor, torch.Tensor]:
    """Background with 4, then classes with 1, 2 and 3 valid prototypes."""
    valid = torch.arange(K) < torch.tensor([4, 1, 2, 3])[:, None]
    return directions(L * K, seed).view(L, K, D) * valid[..., None], valid


def tags(seed: int = 2) -> torch.Tensor:
    return torch.rand(N, C, generator=seeded(seed)) < 0.5


def test_pixel_directions__equals_loop():
    features = torch.randn(5, 7, generator=seeded()).half()
    means, widths = torch.randn(7, generator=seeded(1)), [3, 4]
    found = pixel_directions(features, means, widths)
    for row, pixel in zip(found, features.double(), strict=True):
        centred = pixel - means
        parts = [centred[:3] / centred[:3].norm(), centred[3:] / centred[3:].norm()]
        expected = torch.cat(parts) / math.sqrt(2)
        torch.testing.assert_close(row.double(), expected, atol=1e-5, rtol=1e-5)


def test_label_posterior__equals_loop():
    x, (q, valid), y = directions(), prototypes(), tags()
    found = label_posterior(x, q, valid, y, 0.2, 2.5)
    for n in range(N):
        scores = []
        for label in range(L):
            kernels = [
                math.exp(float(x[n] @ q[label, k]) / 0.2) for k in range(K) if valid[label, k]
            ]
            present = label == 0 or bool(y[n, label - 1])
            weight = 2.5 if label == 0 else 1.0
            scores.append(weight * sum(kernels) / len(kernels) * present)
        for label in range(L):
            assert float(found[n, label]) == pytest.approx(scores[label] / sum(scores), rel=1e-12)


def test_label_posterior__is_eq_7_s_affinity_summed_over_each_label_s_prototypes():
    x, q = directions(), directions(L * K, 1).view(L, K, D)
    valid, every = torch.ones(L, K, dtype=torch.bool), torch.ones(N, C, dtype=torch.bool)
    s = prototype_affinity(x.T[None, :, :, None], q, valid, "cosine", 0.07)[0, :, :, 0]
    expected = s.view(L, K, N).sum(dim=1).T
    torch.testing.assert_close(label_posterior(x, q, valid, every, 0.07, 1.0), expected)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_label_posterior__sums_to_one_and_leaves_absent_classes_out(seed):
    x, (q, valid), y = directions(seed=seed), prototypes(seed + 1), tags(seed + 2)
    found = label_posterior(x, q, valid, y, 0.07, 3.0)
    torch.testing.assert_close(found.sum(dim=-1), torch.ones(N, dtype=torch.float64))
    assert (found[:, 1:][~y] == 0).all()
    assert (found >= 0).all()


def test_label_posterior__does_not_depend_on_the_order_of_prototypes_classes_or_pixels():
    x, (q, valid), y = directions(), prototypes(), tags()
    found = label_posterior(x, q, valid, y, 0.07, 3.0)
    k = torch.randperm(K, generator=seeded(3))
    torch.testing.assert_close(label_posterior(x, q[:, k], valid[:, k], y, 0.07, 3.0), found)
    c = torch.tensor([2, 0, 1])
    order = torch.cat([torch.tensor([0]), c + 1])
    mixed = label_posterior(x, q[order], valid[order], y[:, c], 0.07, 3.0)
    torch.testing.assert_close(mixed, found[:, order])
    n = torch.randperm(N, generator=seeded(4))
    torch.testing.assert_close(label_posterior(x[n], q, valid, y[n], 0.07, 3.0), found[n])


def test_label_posterior__repeating_a_label_s_prototypes_changes_nothing():
    x, (q, valid), y = directions(), prototypes(), tags()
    twice = label_posterior(x, torch.cat([q, q], 1), torch.cat([valid, valid], 1), y, 0.07, 3.0)
    torch.testing.assert_close(twice, label_posterior(x, q, valid, y, 0.07, 3.0))


def test_label_posterior__weight_and_foreground_are_prior_odds():
    x, (q, valid), y = directions(), prototypes(), torch.ones(N, C, dtype=torch.bool)
    plain = label_posterior(x, q, valid, y, 0.2, 1.0)
    odds = plain[:, 0] / plain[:, 2]
    weighted = label_posterior(x, q, valid, y, 0.2, 5.0)
    torch.testing.assert_close(weighted[:, 0] / weighted[:, 2], 5 * odds)
    s = torch.linspace(0.1, 0.9, N, dtype=torch.float64)
    salient = label_posterior(x, q, valid, y, 0.2, 1.0, s)
    torch.testing.assert_close(salient[:, 0] / salient[:, 2], odds * (1 - s) / s)
    torch.testing.assert_close(salient[:, 1] / salient[:, 2], plain[:, 1] / plain[:, 2])


def test_label_posterior__without_tags_or_prototypes_all_is_background():
    x, (q, valid) = directions(), prototypes()
    none = torch.zeros(N, C, dtype=torch.bool)
    assert (label_posterior(x, q, valid, none, 0.07, 3.0)[:, 0] == 1).all()
    lost = valid.clone()
    lost[2] = False
    found = label_posterior(x, q, lost, ~none, 0.07, 3.0)
    assert (found[:, 2] == 0).all() and torch.isfinite(found).all()
    nothing = label_posterior(x, q, torch.zeros_like(valid), ~none, 0.07, 3.0)
    assert (nothing[:, 0] == 1).all() and (nothing[:, 1:] == 0).all()


def test_label_posterior__without_a_background_the_classes_share_all():
    x, (q, valid) = directions(), prototypes()
    valid = valid.clone()
    valid[0] = False
    found = label_posterior(x, q, valid, torch.ones(N, C, dtype=torch.bool), 0.07, 3.0)
    assert (found[:, 0] == 0).all()
    torch.testing.assert_close(found.sum(1), torch.ones(N, dtype=torch.float64))


def test_label_posterior__gradients_are_right():
    (q, valid), y = prototypes(), tags()[:3]
    x = directions(3).requires_grad_()
    assert torch.autograd.gradcheck(lambda z: label_posterior(z, q, valid, y, 0.5, 3.0), x)


def test_label_posterior__gradients_are_finite_where_labels_and_tags_are_missing():
    x, (q, valid), y = directions(), prototypes(), tags()
    y[:3] = False
    for lost in ([2], [0], [0, 1, 2, 3]):
        left = valid.clone()
        left[lost] = False
        inputs = [x.clone().requires_grad_(), q.clone().requires_grad_()]
        label_posterior(*inputs, left, y, 0.07, 3.0).square().sum().backward()
        assert all(torch.isfinite(given.grad).all() for given in inputs)
        assert (inputs[1].grad[~left] == 0).all()


def test_label_posterior__what_invalid_prototypes_hold_does_not_matter():
    x, (q, valid), y = directions(), prototypes(), tags()
    rubbish = torch.where(valid[..., None], q, 1e6)
    expected = label_posterior(x, q, valid, y, 0.07, 3.0)
    assert torch.equal(label_posterior(x, rubbish, valid, y, 0.07, 3.0), expected)


def test_label_posterior__of_maps_is_that_of_their_pixels():
    x, (q, valid), y = directions(), prototypes(), tags()
    s = torch.linspace(0.1, 0.9, N, dtype=torch.float64)
    maps = label_posterior(x.view(5, 6, D), q, valid, y[0], 0.07, 3.0, s.view(5, 6))
    flat = label_posterior(x, q, valid, y[:1].expand(N, C), 0.07, 3.0, s)
    torch.testing.assert_close(maps.view(N, L), flat)


def test_cam_regions__equals_loop():
    image, y = torch.arange(200) // 20, tags()[:10]
    y[:, 0] = True
    cams = torch.rand(200, C, generator=seeded()) ** 3 * y[image]
    found = cam_regions(cams, y, image, 0.5, 0.08)
    for n in range(200):
        best = max(range(C), key=lambda label, n=n: float(cams[n, label]))
        highest = float(cams[n, best])
        expected = best + 1 if highest > 0.5 else 0 if highest < 0.08 else UNSURE
        assert int(found[n]) == expected
    assert {*found.tolist()} == {UNSURE, 0, 1, 2, 3}


def test_cam_regions__a_class_without_a_sure_pixel_gets_the_highest_of_its_images():
    cams = torch.tensor([[0.9, 0.0], [0.0, 0.0], [0.0, 0.3], [0.0, 0.2], [0.0, 0.0]])
    image, y = torch.tensor([0, 0, 1, 1, 1]), torch.tensor([[True, False], [False, True]])
    assert cam_regions(cams, y, image, 0.5, 0.08).tolist() == [1, 0, 2, UNSURE, 0]


def test_cam_regions__without_background_the_lowest_pixel_of_each_image_is_it():
    cams = torch.tensor([[0.9], [0.6], [0.3], [0.2]])
    image, y = torch.tensor([0, 0, 1, 1]), torch.ones(2, 1, dtype=torch.bool)
    regions = cam_regions(cams, y, image, 0.95, 0.08)
    assert regions[[1, 3]].tolist() == [0, 0]
    assert regions[0] == 1


def test_cam_regions__maps_of_zeros_give_each_class_one_pixel_of_each_of_its_images():
    image, y = torch.tensor([0, 0, 1, 1]), torch.tensor([[True, False], [False, True]])
    assert cam_regions(torch.zeros(4, 2), y, image, 0.5, 0.08).tolist() == [1, 0, 2, 0]
    both = torch.ones(2, 2, dtype=torch.bool)
    image = torch.arange(6) // 3
    assert cam_regions(torch.zeros(6, 2), both, image, 0.5, 0.08).tolist() == [1, 2, 0] * 2
    single = torch.tensor([0, 1])  # an image of one pixel cannot hold both
    assert cam_regions(torch.zeros(2, 2), both, single, 0.5, 0.08).tolist() == [1, 1]


def test_cam_regions__a_class_whose_maps_are_zero_leaves_the_others_theirs():
    cams = torch.tensor([[0.0, 0.0], [0.9, 0.0], [0.8, 0.0], [0.3, 0.0]])
    image, y = torch.zeros(4, dtype=torch.long), torch.ones(1, 2, dtype=torch.bool)
    assert cam_regions(cams, y, image, 0.5, 0.08).tolist() == [2, 1, 1, 0]


def test_cam_regions__a_background_is_found_where_all_is_sure_to_be_a_class():
    image, y = torch.tensor([0, 0, 0, 1, 1]), torch.ones(2, 1, dtype=torch.bool)
    cams = torch.tensor([[0.9], [0.7], [0.8], [0.9], [0.6]])
    assert cam_regions(cams, y, image, 0.5, 0.08).tolist() == [1, 0, 1, 1, 0]


def test_posterior_regions__are_strictly_above_the_level():
    posterior = torch.tensor([[0.95, 0.05], [0.1, 0.9], [0.5, 0.5], [0.02, 0.98]])
    assert posterior_regions(posterior, 0.9).tolist() == [0, UNSURE, UNSURE, 1]


def pixels(seed: int = 0, spread: float = 0.15, impure: float = 0.3) -> tuple[Pixels, torch.Tensor]:
    """Ten images of two classes and a background of two kinds; truth of each pixel.

    The CAMs' regions reach into the background: a share of its pixels has a high CAM.
    """
    draws = seeded(seed)
    centres = torch.eye(4, D)  # two of the background, then the classes
    image = torch.arange(400) // 40
    y = torch.stack([torch.arange(10) % 2 == 0, torch.arange(10) % 2 == 1], dim=1)
    kind = torch.arange(400) % 4
    truth = torch.where(kind < 2, 0, 1 + (image % 2))
    centre = centres[torch.where(kind < 2, kind, 1 + truth)]
    x = unit(centre + spread * torch.randn(400, D, generator=draws))
    own = torch.where(truth > 0, 0.9, 0.0)
    own[(truth == 0) & (torch.rand(400, generator=draws) < impure)] = 0.7
    cams = torch.zeros(400, 2).scatter_(1, (image % 2)[:, None], own[:, None])
    return Pixels(x, cams, image, y), truth


def test_fit_readout__finds_clean_clusters_from_impure_regions():
    given_pixels, truth = pixels()
    first = cam_regions(given_pixels.cams, given_pixels.tags, given_pixels.image, 0.5, 0.08)
    assert ((first > 0) & (truth == 0)).sum() > 30
    q, valid = fit_readout(given_pixels, SETTINGS, seeded())
    posterior = label_posterior(
        given_pixels.directions, q, valid, given_pixels.tags[given_pixels.image], 0.07, 3.0
    )
    assert (posterior.argmax(1) == truth).float().mean() > 0.98


def test_fit_readout__half_precision_will_do_and_the_same_seed_gives_the_same_bytes():
    given_pixels, _ = pixels()
    half = Pixels(given_pixels.directions.half(), *list(vars(given_pixels).values())[1:])
    one, two = fit_readout(half, SETTINGS, seeded(3)), fit_readout(half, SETTINGS, seeded(3))
    assert torch.equal(one[0], two[0]) and torch.equal(one[1], two[1])
    assert one[0].dtype == torch.float32
    lengths = one[0][one[1]].norm(dim=1)
    torch.testing.assert_close(lengths, torch.ones_like(lengths))


def test_fit_readout__classes_have_one_prototype_until_the_last_round(monkeypatch):
    seen = []
    monkeypatch.setattr(
        "rca.method.readout.fit_label_prototypes",
        lambda *given: seen.append((given[2], *given[5:])) or fit_label_prototypes(*given),
    )
    fit_readout(pixels()[0], SETTINGS, seeded())
    assert seen == [(counts, 1000, 2) for counts in ([3, 1, 1], [3, 1, 1], [3, 2, 2])]


def test_fit_readout__a_class_tagged_nowhere_has_no_prototypes():
    given_pixels, _ = pixels()
    wider = Pixels(
        given_pixels.directions,
        torch.cat([given_pixels.cams, torch.zeros(400, 1)], 1),
        given_pixels.image,
        torch.cat([given_pixels.tags, torch.zeros(10, 1, dtype=torch.bool)], 1),
    )
    _, valid = fit_readout(wider, SETTINGS, seeded())
    assert valid.any(1).tolist() == [True, True, True, False]


def test_fit_readout__an_image_without_background_is_all_its_class():
    given_pixels, truth = pixels()
    kept = (given_pixels.image > 0) | (truth > 0)
    own = [value[kept] for value in (given_pixels.directions, given_pixels.cams)]
    bare = Pixels(*own, given_pixels.image[kept], given_pixels.tags)
    q, valid = fit_readout(bare, SETTINGS, seeded())
    posterior = label_posterior(own[0], q, valid, bare.tags[bare.image], 0.07, 3.0)
    assert (posterior.argmax(1) == truth[kept])[bare.image == 0].all()
    assert (posterior.argmax(1) == truth[kept]).float().mean() > 0.98


def test_fit_readout__where_no_pixel_is_ever_sure_prototypes_stay():
    given_pixels, _ = pixels()
    never = ReadoutSettings(**{**vars(SETTINGS), "level": 1.0, "prototypes": 1})
    once = ReadoutSettings(**{**vars(SETTINGS), "rounds": 1, "prototypes": 1})
    q, valid = fit_readout(given_pixels, never, seeded())
    first, _ = fit_readout(given_pixels, once, seeded())
    assert valid.any(dim=1).all()
    torch.testing.assert_close(q, first)


def test_fit_label_prototypes__an_empty_region_keeps_what_it_had():
    x = directions().float()
    before = prototypes()[0].float(), prototypes()[1]
    regions = torch.zeros(N, dtype=torch.long)
    q, valid = fit_label_prototypes(x, regions, [K] * L, seeded(), before, 100, 2)
    torch.testing.assert_close(q[1:], before[0][1:])
    assert torch.equal(valid[1:], before[1][1:])


def test_fit_label_prototypes__one_direction_is_the_mean_of_the_region_alone():
    x, regions = directions().float(), torch.arange(N) % (L + 1) - 1
    q, valid = fit_label_prototypes(x, regions, [1] * L, seeded(), None, 1000, 1)
    assert valid.all()
    for label in range(L):
        torch.testing.assert_close(q[label, 0], unit(x[regions == label].mean(dim=0)))


def test_fit_label_prototypes__takes_a_random_sample_of_a_region_s_pixels(monkeypatch):
    x, regions = directions().float(), (torch.arange(N) >= 20).long()
    taken = []
    monkeypatch.setattr(
        "rca.method.readout.spherical_kmeans",
        lambda points, *_: taken.append(points) or points[:1],
    )
    for seed in (0, 0, 1):
        fit_label_prototypes(x, regions, [1, 1], seeded(seed), None, 15, 1)
    assert [len(points) for points in taken] == [15, 10] * 3
    rows = [{int(n) for n in torch.cdist(points, x).argmin(dim=1)} for points in taken]
    assert all(len(own) == 15 and own <= set(range(20)) for own in rows[::2])
    assert rows[1] == set(range(20, N))  # few enough: all of them
    assert rows[0] == rows[2] != rows[4]


def test_fit_label_prototypes__begins_at_the_valid_prototypes_of_the_round_before(monkeypatch):
    given = []
    monkeypatch.setattr(
        "rca.method.readout.spherical_kmeans",
        lambda points, k, generator, start, restarts: given.append((k, start)) or points[:1],
    )
    x, (q, valid) = directions().float(), prototypes()
    fit_label_prototypes(x, torch.arange(N) % L, [4, 1, 2, 3], seeded(), (q, valid), 1000, 1)
    for label, (count, start) in enumerate(given):
        assert count == [4, 1, 2, 3][label]
        assert torch.equal(start, q[label, :count])


def test_fit_label_prototypes__fewer_pixels_than_prototypes_are_the_prototypes():
    x = directions(2).float()
    q, valid = fit_label_prototypes(
        x, torch.zeros(2, dtype=torch.long), [4, 4], seeded(), None, 9, 2
    )
    assert valid.tolist() == [[True, True, False, False], [False] * 4]
    assert torch.cdist(q[0, :2], x).amin(1).max() < 1e-3


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_fit_label_prototypes__likelihood_of_a_region_never_falls(seed):
    x = directions(seed=seed).float()
    regions = torch.randint(-1, L, (N,), generator=seeded(seed))
    before = unit(torch.randn(L, 2, D, generator=seeded(seed + 1)))
    every = torch.ones(L, 2, dtype=torch.bool)
    after, valid = fit_label_prototypes(x, regions, [2] * L, seeded(seed), (before, every), 1000, 1)
    for label in range(L):
        own = x[regions == label]
        if len(own) > 1:
            was, now = ((own @ q[label].T).amax(1).mean() for q in (before, after))
            assert now >= was - 1e-6
            assert valid[label].all()


def test_read_regions__is_the_posterior_s_in_parts(monkeypatch):
    image, y = torch.arange(N) // 3, tags()[: N // 3]
    x, (q, valid) = directions().float(), (prototypes()[0].float(), prototypes()[1])
    s = torch.linspace(0.1, 0.9, N)
    monkeypatch.setattr("rca.method.readout.TOGETHER", 7 * L * K)
    for foreground in (None, s):
        posterior = label_posterior(x, q, valid, y[image], 0.07, 3.0, foreground)
        expected = posterior_regions(posterior, 0.9)
        assert {0, UNSURE} < {*expected.tolist()}
        given_pixels = Pixels(x, torch.zeros(N, C), image, y, foreground)
        assert torch.equal(read_regions(given_pixels, q, valid, SETTINGS), expected)


def test_nearest_pixels__equals_loop():
    # An image without pixels, images out of order, and classes tagged in few of them.
    image = torch.randint(9, (N,), generator=seeded())
    image[image == 4] = 5
    x, (q, valid), y = directions().float(), prototypes(), tags()[:9]
    found = nearest_pixels(Pixels(x, torch.zeros(N, C), image, y), q.float(), valid, 5)
    assert list(found) == [tuple(place) for place in valid.nonzero().tolist()]
    for (label, k), nearest in found.items():
        best = {}
        for n in range(N):
            own = int(image[n])
            if label == 0 or y[own, label - 1]:
                best[own] = max(best.get(own, (-2.0, -1)), (float(x[n] @ q[label, k].float()), n))
        expected = sorted(best.values(), reverse=True)[:5]
        assert [pixel for pixel, _ in nearest] == [n for _, n in expected]
        assert [near for _, near in nearest] == pytest.approx([s for s, _ in expected], abs=1e-4)
    assert {len(nearest) for nearest in found.values()} > {5}  # and fewer where tags are few


def test_first_regions__of_prototypes_with_the_cams_where_a_label_is_lost() -> None:
    """Class 2 has no prototype, so its region is the CAMs', outside of what others claim."""
    points = torch.eye(4)[torch.tensor([0, 0, 1, 2, 2, 3])]
    cams = torch.zeros(6, 2)
    cams[3:5, 1] = 0.9  # class 2 by the CAMs
    cams[0, 0] = 0.9  # class 1 by the CAMs, background by the prototypes
    image, present = torch.zeros(6, dtype=torch.long), torch.ones(1, 2).bool()
    sample = Pixels(points, cams, image, present)
    prototypes = torch.zeros(3, 1, 4)
    prototypes[0, 0, 0] = prototypes[1, 0, 1] = 1
    valid = torch.tensor([[True], [True], [False]])
    regions = first_regions(sample, SETTINGS, (prototypes, valid))
    assert regions.tolist() == [0, 0, 1, 2, 2, UNSURE]
    by_cams = first_regions(sample, SETTINGS)
    assert torch.equal(by_cams, cam_regions(cams, present, image, 0.5, 0.08))


def test_fit_readout__begins_at_the_prototypes_given() -> None:
    """CAMs that say nothing cannot spoil what good prototypes begin."""
    sample, truth = pixels()
    settings_ = dataclasses.replace(SETTINGS, background_prototypes=1, prototypes=1)
    fitted = fit_readout(sample, settings_, seeded())
    blind = dataclasses.replace(sample, cams=torch.zeros_like(sample.cams))
    begun = fit_readout(blind, settings_, seeded(), fitted)
    agree = (read_regions(blind, *begun, settings_) == truth).float().mean()
    lost = read_regions(blind, *fit_readout(blind, settings_, seeded()), settings_) == truth
    assert agree > 0.8
    assert lost.float().mean() < agree
