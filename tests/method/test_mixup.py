from __future__ import annotations

import pytest
import torch
from paper import mix_regions, sample_partners
from scipy import stats

from rca.method.mixup import sample_beta


@pytest.mark.parametrize("beta", [0.2, 0.5, 1.0, 2.0, 8.0, 50.0])
def test_sample_beta__is_beta_distributed(beta: float) -> None:
    sample = sample_beta(beta, (20_000,), torch.Generator().manual_seed(1)).numpy()
    assert stats.kstest(sample, stats.beta(beta, beta).cdf).pvalue > 0.01
    assert sample.mean() == pytest.approx(0.5, abs=0.01)
    assert sample.var() == pytest.approx(stats.beta(beta, beta).var(), rel=0.05)


@pytest.mark.parametrize("beta", [1e-3, 1e-2, 1e3, 1e6])
def test_sample_beta__extreme_shapes_stay_within_zero_and_one(beta: float, draws) -> None:
    sample = sample_beta(beta, (5_000,), draws)
    assert ((sample >= 0) & (sample <= 1)).all()
    middle = ((sample - 0.5).abs() < 0.2).double().mean()
    assert middle > 0.99 if beta > 1 else middle < 0.01


def test_sample_beta__same_seed_same_draws_and_any_shape() -> None:
    one, two = (sample_beta(8.0, (3, 4), torch.Generator().manual_seed(7)) for _ in range(2))
    assert torch.equal(one, two)
    assert one.shape == (3, 4)
    assert sample_beta(8.0, (0,), torch.Generator()).shape == (0,)


def test_sample_partners__another_class_and_each_allowed_region_equally_often(draws) -> None:
    labels = torch.tensor([0, 0, 1, 2, 2])
    rounds = 1500
    counts = torch.zeros(5, 5)
    for _ in range(rounds):
        counts[torch.arange(5), sample_partners(labels, draws)] += 1
    for region, label in enumerate(labels):
        allowed = labels != label
        assert counts[region][~allowed].sum() == 0
        assert stats.chisquare(counts[region][allowed].numpy()).pvalue > 0.001


def test_sample_partners__another_image_and_class_and_each_equally_often(draws) -> None:
    labels, images = torch.tensor([0, 1, 1, 2, 0]), torch.tensor([0, 0, 1, 1, 2])
    rounds = 1500
    counts = torch.zeros(5, 5)
    for _ in range(rounds):
        others = sample_partners(labels, draws, "other_image", images)
        counts[torch.arange(5), others] += 1
    for region in range(5):
        allowed = (labels != labels[region]) & (images != images[region])
        assert counts[region][~allowed].sum() == 0
        assert stats.chisquare(counts[region][allowed].numpy()).pvalue > 0.001
    alone = sample_partners(labels[:2], draws, "other_image", images[:2])
    assert alone.tolist() == [-1, -1]  # two classes of one image


def test_sample_partners__other_image_must_be_told_the_images(draws) -> None:
    with pytest.raises(ValueError, match="'other_image': pass the image of each region"):
        sample_partners(torch.tensor([0, 1]), draws, "other_image")


def test_sample_partners__none_where_all_are_of_one_class(draws) -> None:
    assert sample_partners(torch.tensor([3, 3, 3]), draws).tolist() == [-1, -1, -1]
    assert sample_partners(torch.tensor([3]), draws).tolist() == [-1]
    assert sample_partners(torch.tensor([], dtype=torch.long), draws).tolist() == []


def test_sample_partners__any_may_be_itself_or_of_the_same_class(draws) -> None:
    labels = torch.tensor([0, 0, 1, 2, 2])
    rounds = 1500
    counts = torch.zeros(5, 5)
    for _ in range(rounds):
        counts[torch.arange(5), sample_partners(labels, draws, "any")] += 1
    for row in counts:
        assert stats.chisquare(row.numpy()).pvalue > 0.001
    assert sample_partners(torch.tensor([3]), draws, "any").tolist() == [0]


def test_sample_partners__refuses_unknown_rules(draws) -> None:
    with pytest.raises(ValueError, match="mixup partner 'nearest': use 'other_class'"):
        sample_partners(torch.tensor([0, 1]), draws, "nearest")


def replay(labels: torch.Tensor, beta: float, partner: str) -> tuple[list[int], list[float]]:
    """The partners and shares that a mixup from seed 0 draws."""
    draws = torch.Generator().manual_seed(0)
    others = sample_partners(labels, draws, partner).tolist()
    return others, sample_beta(beta, labels.shape, draws).tolist()


@pytest.mark.parametrize("partner", ["other_class", "any"])
@pytest.mark.parametrize("normalise_first", [False, True])
def test_mix_regions__equals_loop(normalise_first: bool, partner: str, draws) -> None:
    labels = torch.tensor([0, 2, 2, 1, 0, 2])
    embeddings = torch.randn(6, 5, generator=draws, dtype=torch.float64)
    embeddings *= torch.arange(1, 7)[:, None]  # lengths of their own
    others, omegas = replay(labels, 2.0, partner)
    mixed, foreign, omega = mix_regions(
        embeddings,
        labels,
        beta=2.0,
        generator=torch.Generator().manual_seed(0),
        partner=partner,
        normalise_first=normalise_first,
    )
    for r, (other, share) in enumerate(zip(others, omegas, strict=True)):
        own, strange = embeddings[r], embeddings[other]
        if normalise_first:
            own, strange = own / own.norm(), strange / strange.norm()
        expected = share * own + (1 - share) * strange
        torch.testing.assert_close(mixed[r], expected / expected.norm())
        assert foreign[r] == labels[other]
        assert omega[r] == share


def test_mix_regions__normalising_first_keeps_a_long_region_from_drowning_the_other() -> None:
    labels = torch.tensor([0, 1])
    embeddings = torch.tensor([[1.0, 0.0], [0.0, 1000.0]])
    share = []
    for normalise_first in (False, True):
        mixed, _, omega = mix_regions(
            embeddings,
            labels,
            beta=1e6,  # ω = 1/2
            generator=torch.Generator().manual_seed(0),
            normalise_first=normalise_first,
        )
        share.append(mixed[0, 0].item())
    assert omega[0].item() == pytest.approx(0.5, abs=0.01)
    assert share[0] == pytest.approx(0.001, abs=1e-4)
    assert share[1] == pytest.approx(0.5**0.5, abs=0.01)


def test_mix_regions__a_region_without_partner_stands_for_itself(draws) -> None:
    labels = torch.tensor([4, 4])
    embeddings = torch.randn(2, 3, generator=draws)
    mixed, foreign, omega = mix_regions(embeddings, labels, generator=draws)
    torch.testing.assert_close(mixed, embeddings / embeddings.norm(dim=1, keepdim=True))
    assert torch.equal(foreign, labels)
    assert omega.tolist() == [1, 1]


@pytest.mark.parametrize("normalise_first", [False, True])
def test_mix_regions__gradient_reaches_both_regions(normalise_first: bool, draws) -> None:
    labels = torch.tensor([0, 1, 2])
    embeddings = torch.randn(3, 4, generator=draws, dtype=torch.float64, requires_grad=True)

    def mixed(x: torch.Tensor) -> torch.Tensor:
        seeded = torch.Generator().manual_seed(3)
        return mix_regions(x, labels, generator=seeded, normalise_first=normalise_first)[0]

    assert torch.autograd.gradcheck(mixed, embeddings)
    others = sample_partners(labels, torch.Generator().manual_seed(3)).tolist()
    (gradient,) = torch.autograd.grad(mixed(embeddings)[0].sum(), embeddings)
    touched = gradient.abs().sum(dim=1) > 0
    assert touched.tolist() == [r in (0, others[0]) for r in range(3)]
