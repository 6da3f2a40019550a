from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from paper import info_nce, mix_regions, region_contrast

C, M, D = 4, 5, 6
FORMS = ["paper", "supcon", "clamped"]


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=seeded(seed), dtype=torch.float64)


def unit(x: torch.Tensor) -> torch.Tensor:
    return x / x.norm(dim=-1, keepdim=True)


def a_memory(seed: int = 1) -> tuple[torch.Tensor, torch.Tensor]:
    """Rows of all lengths, and slots filled to different degrees."""
    rows = normal(C, M, D, seed=seed) * torch.rand(C, M, 1, generator=seeded(seed)) * 9
    filled = torch.arange(M) < torch.tensor([5, 2, 3, 1])[:, None]
    return rows, filled


def naive_info_nce(
    query: torch.Tensor,
    label: int,
    memory: torch.Tensor,
    filled: torch.Tensor,
    t: float,
    exclude: int | None = None,
    form: str = "paper",
) -> float:
    """Eq. 4, one exponential after another."""

    def exponential(row: torch.Tensor) -> float:
        return math.exp(float(query @ row / row.norm()) / t)

    def rows(of_class: int) -> list[torch.Tensor]:
        return [memory[of_class, m] for m in range(M) if filled[of_class, m]]

    positives = [exponential(row) for row in rows(label)]
    others = [c for c in range(C) if c not in (label, exclude)]
    negatives = [exponential(row) for c in others for row in rows(c)]
    if not positives or not negatives:
        return 0.0

    def denominator(p: float) -> float:
        if form == "supcon":
            return sum(negatives) + sum(positives)
        floor = 1e-4 * max(positives + negatives) if form == "clamped" else 0.0
        return max(sum(negatives) + p, floor)

    return sum(-math.log(p / denominator(p)) for p in positives) / len(positives)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("excluding", [False, True])
@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), t=st.sampled_from([0.07, 0.5, 2.0]))
def test_info_nce__equals_loop(form: str, excluding: bool, seed: int, t: float) -> None:
    memory = normal(C, M, D, seed=seed)
    filled = torch.rand(C, M, generator=seeded(seed)) > 0.4
    labels = torch.randint(C, (7,), generator=seeded(seed))
    exclude = torch.randint(C, (7,), generator=seeded(seed + 1)) if excluding else None
    queries = unit(normal(7, D, seed=seed + 2))
    losses = info_nce(queries, labels, memory, filled, t, form, exclude)
    for r in range(7):
        expected = naive_info_nce(
            queries[r],
            int(labels[r]),
            memory,
            filled,
            t,
            int(exclude[r]) if excluding else None,
            form,
        )
        assert losses[r].item() == pytest.approx(expected, rel=1e-9, abs=1e-12)


def test_info_nce__chance_level_is_log_of_one_and_the_negatives() -> None:
    memory = torch.ones(C, M, D).double()
    filled = torch.arange(M) < torch.tensor([5, 2, 3, 1])[:, None]
    losses = info_nce(unit(normal(C, D)), torch.arange(C), memory, filled)
    expected = torch.tensor([1.0 + n for n in (6, 9, 8, 10)]).double().log()
    torch.testing.assert_close(losses, expected)


def test_info_nce__forms_differ_once_there_are_two_positives() -> None:
    memory, filled = a_memory()
    queries, labels = unit(normal(C, D)), torch.arange(C)
    paper = info_nce(queries, labels, memory, filled)
    supcon = info_nce(queries, labels, memory, filled, form="supcon")
    assert (supcon[:3] > paper[:3]).all()
    assert supcon[3] == pytest.approx(paper[3].item())  # one positive


def test_info_nce__the_clamp_is_felt_where_one_positive_dominates() -> None:
    memory = torch.eye(3).double()[:2, None].repeat(1, 2, 1)
    memory[0, 1] = torch.tensor([0.0, 0, 1])  # a positive that the query is far from
    filled = torch.ones(2, 2, dtype=torch.bool)
    query, label = torch.tensor([[1.0, 0, 0]]).double(), torch.tensor([0])
    # Exponentials: 1 of the near positive, e of the far one and of each of two negatives.
    for t, far in ((0.2, math.exp(-5)), (0.07, math.exp(-1 / 0.07))):
        paper, clamped = (
            info_nce(query, label, memory, filled, t, form=form).item()
            for form in ("paper", "clamped")
        )
        near_term = math.log(1 + 2 * far)
        assert paper == pytest.approx((near_term + math.log(3)) / 2)
        floor = math.log(max(3 * far, 1e-4) / far)
        assert clamped == pytest.approx((near_term + floor) / 2)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("lacking", ["positives", "negatives", "everything"])
def test_info_nce__nothing_to_contrast_gives_zero_loss_and_gradient(
    form: str, lacking: str
) -> None:
    memory = normal(C, M, D)
    filled = torch.zeros(C, M, dtype=torch.bool)
    if lacking == "positives":
        filled[1:] = True
    elif lacking == "negatives":
        filled[0] = True
    queries = unit(normal(3, D)).requires_grad_()
    with torch.autograd.set_detect_anomaly(True):  # no NaN on the way either
        losses = info_nce(queries, torch.zeros(3, dtype=torch.long), memory, filled, form=form)
        losses.sum().backward()
    assert torch.equal(losses, torch.zeros(3).double())
    assert torch.equal(queries.grad, torch.zeros_like(queries))


@pytest.mark.parametrize("form", FORMS)
def test_info_nce__single_class_has_no_negatives(form: str) -> None:
    memory, filled = normal(1, M, D), torch.ones(1, M, dtype=torch.bool)
    losses = info_nce(unit(normal(2, D)), torch.tensor([0, 0]), memory, filled, form=form)
    assert losses.tolist() == [0, 0]


@pytest.mark.parametrize("form", FORMS)
def test_info_nce__stays_finite_where_exponentials_overflow(form: str) -> None:
    memory, filled = a_memory()
    queries = unit(normal(6, D)).float().requires_grad_()
    labels = torch.tensor([0, 1, 2, 3, 0, 3])
    losses = info_nce(queries, labels, memory.float(), filled, temperature=1e-4, form=form)
    losses.sum().backward()
    assert losses.isfinite().all()
    assert queries.grad.isfinite().all()
    # Of exponentials that far apart only the largest is felt.
    similar = torch.einsum("rd,cmd->rcm", queries.detach().double(), unit(memory)) / 1e-4
    for r, label in enumerate(labels.tolist()):
        own = similar[r, label][filled[label]]
        rest = torch.cat([similar[r, c][filled[c]] for c in range(C) if c != label]).max()
        top = torch.maximum(rest, own.max() if form == "supcon" else own)
        if form == "clamped":
            top = torch.maximum(top, torch.maximum(rest, own.max()) + math.log(1e-4))
        assert losses[r].item() == pytest.approx((top - own).mean().item(), rel=1e-4, abs=1e-2)


@pytest.mark.parametrize("form", FORMS)
def test_info_nce__gradient(form: str) -> None:
    memory, filled = a_memory()
    labels, exclude = torch.tensor([0, 1, 3]), torch.tensor([2, 1, 0])
    queries = unit(normal(3, D)).requires_grad_()
    assert torch.autograd.gradcheck(
        lambda q: info_nce(q, labels, memory, filled, 0.5, form, exclude), queries
    )


def test_info_nce__no_gradient_reaches_the_memory() -> None:
    memory, filled = a_memory()
    memory.requires_grad_()
    queries = unit(normal(2, D)).requires_grad_()
    info_nce(queries, torch.tensor([0, 1]), memory, filled).sum().backward()
    assert memory.grad is None


def test_info_nce__length_of_the_rows_does_not_matter() -> None:
    memory, filled = a_memory()
    queries, labels = unit(normal(3, D)), torch.tensor([0, 1, 2])
    stretched = memory * torch.logspace(-3, 3, C * M).view(C, M, 1)
    torch.testing.assert_close(
        info_nce(queries, labels, stretched, filled), info_nce(queries, labels, memory, filled)
    )


def test_info_nce__what_unfilled_slots_hold_does_not_matter() -> None:
    memory, filled = a_memory()
    queries, labels = unit(normal(3, D)), torch.tensor([0, 1, 2])
    rubbish = torch.where(filled[..., None], memory, 1e6 * normal(C, M, D, seed=9))
    assert torch.equal(
        info_nce(queries, labels, rubbish, filled), info_nce(queries, labels, memory, filled)
    )


def test_info_nce__follows_a_permutation_of_classes_slots_and_queries() -> None:
    memory, filled = a_memory()
    queries, labels = unit(normal(4, D)), torch.tensor([3, 1, 2, 3])
    losses = info_nce(queries, labels, memory, filled)
    classes, slots, order = (torch.tensor(p) for p in ([2, 0, 3, 1], [4, 2, 0, 3, 1], [1, 3, 0, 2]))
    renamed = classes.argsort()[labels]
    permuted = info_nce(
        queries[order], renamed[order], memory[classes][:, slots], filled[classes][:, slots]
    )
    torch.testing.assert_close(permuted, losses[order])


def test_info_nce__excluding_a_class_is_emptying_it() -> None:
    memory, filled = a_memory()
    queries, labels = unit(normal(2, D)), torch.tensor([0, 1])
    without = filled.clone()
    without[2] = False
    torch.testing.assert_close(
        info_nce(queries, labels, memory, filled, exclude=torch.tensor([2, 2])),
        info_nce(queries, labels, memory, without),
    )


def test_info_nce__falls_as_the_query_nears_its_class() -> None:
    memory = torch.eye(3).double()[:, None]  # one row a class, at right angles
    filled = torch.ones(3, 1, dtype=torch.bool)
    angles = torch.linspace(0, math.pi / 2, 20).double()
    queries = torch.stack([angles.sin(), angles.cos(), torch.zeros(20)], dim=1)
    losses = info_nce(queries, torch.zeros(20, dtype=torch.long), memory, filled)
    assert (losses.diff() < 0).all()


def test_info_nce__refuses_unknown_forms() -> None:
    memory, filled = a_memory()
    with pytest.raises(ValueError, match="InfoNCE form 'cpc': use 'paper', 'supcon'"):
        info_nce(unit(normal(1, D)), torch.tensor([0]), memory, filled, form="cpc")


OPTIONS = [
    {},
    {"partner": "any"},
    {"normalise_first": True},
    {"exclude_partner": True},
    {"form": "supcon"},
    {"images": torch.tensor([0, 0, 1, 2, 2, 2]), "sum_images": True},
    {"images": torch.tensor([0, 0, 1, 2, 2, 2]), "partner": "other_image"},
    {"project": lambda directions: directions.square() @ HEAD},
]
HEAD = torch.linspace(-1, 2, D * 3, dtype=torch.float64).view(D, 3)
LABELS = torch.tensor([0, 1, 2, 3, 1, 0])


def names(option: dict) -> str:
    return next(iter(option), "paper")


def regions(seed: int = 3) -> torch.Tensor:
    return normal(6, D, seed=seed) * torch.arange(1, 7)[:, None]


def contrast(embeddings: torch.Tensor, **options: object) -> torch.Tensor:
    memory, filled = a_memory()
    labels = options.pop("labels", LABELS)
    return region_contrast(
        embeddings, labels, memory, filled, temperature=0.5, generator=seeded(), **options
    )


@pytest.mark.parametrize("option", OPTIONS, ids=names)
def test_region_contrast__equals_loop(option: dict) -> None:
    memory, filled = a_memory()
    draw = {k: option[k] for k in ("partner", "normalise_first", "images") if k in option}
    mixed, foreign, omega = mix_regions(regions(), LABELS, generator=seeded(), **draw)
    if "project" in option:
        mixed = unit(option["project"](mixed))
        memory = option["project"](unit(memory))
    form = option.get("form", "paper")
    losses = []
    for f, own, other, w in zip(mixed, LABELS.tolist(), foreign.tolist(), omega, strict=True):
        excluded = (other, own) if "exclude_partner" in option else (None, None)
        losses.append(
            float(w) * naive_info_nce(f, own, memory, filled, 0.5, excluded[0], form)
            + float(1 - w) * naive_info_nce(f, other, memory, filled, 0.5, excluded[1], form)
        )
    expected = sum(losses) / 6
    if "sum_images" in option:
        expected = sum(losses[:2]) / 2 + losses[2] + sum(losses[3:]) / 3
    assert contrast(regions(), **option).item() == pytest.approx(expected)


def test_region_contrast__options_differ() -> None:
    values = [contrast(regions(), **option).item() for option in OPTIONS]
    for first in range(len(values)):
        for second in range(first):
            assert abs(values[first] - values[second]) > 1e-3


@pytest.mark.parametrize("option", OPTIONS, ids=names)
def test_region_contrast__gradient(option: dict) -> None:
    embeddings = regions().requires_grad_()
    assert torch.autograd.gradcheck(lambda x: contrast(x, **option), embeddings)


def test_region_contrast__one_class_is_plain_info_nce() -> None:
    memory, filled = a_memory()
    labels = torch.full((6,), 2)
    plain = info_nce(unit(regions()), labels, memory, filled, 0.5)
    torch.testing.assert_close(contrast(regions(), labels=labels), plain.mean())


@pytest.mark.parametrize("images", [None, torch.tensor([], dtype=torch.long)])
def test_region_contrast__without_regions_is_zero_with_a_graph(images) -> None:
    features = normal(2, D).requires_grad_()
    none = torch.tensor([], dtype=torch.long)
    loss = contrast(features[:0], labels=none, images=images, sum_images=images is not None)
    loss.backward()
    assert loss.item() == 0
    assert torch.equal(features.grad, torch.zeros_like(features))


def test_region_contrast__empty_memory_gives_zero_loss_and_gradient() -> None:
    embeddings = regions().requires_grad_()
    loss = region_contrast(
        embeddings,
        LABELS,
        torch.zeros(C, M, D).double(),
        torch.zeros(C, M, dtype=torch.bool),
        generator=seeded(),
    )
    loss.backward()
    assert loss.item() == 0
    assert torch.equal(embeddings.grad, torch.zeros_like(embeddings))


def test_region_contrast__a_projection_learns_from_its_queries_alone() -> None:
    head = HEAD.clone().requires_grad_()
    memory, filled = a_memory()

    def loss(of_queries: torch.Tensor, of_memory: torch.Tensor) -> torch.Tensor:
        mixed, foreign, omega = mix_regions(regions(), LABELS, generator=seeded())
        queries, rows = unit(mixed @ of_queries), unit(memory) @ of_memory
        own, other = (info_nce(queries, one, rows, filled, 0.5) for one in (LABELS, foreign))
        return (omega * own + (1 - omega) * other).mean()

    found = contrast(regions(), project=lambda directions: directions @ head)
    torch.testing.assert_close(found, loss(head, HEAD))
    (expected,) = torch.autograd.grad(loss(head, HEAD), head)
    (gradient,) = torch.autograd.grad(found, head)
    torch.testing.assert_close(gradient, expected)
    assert gradient.abs().sum() > 0


def test_region_contrast__sum_images_must_be_told_the_images() -> None:
    with pytest.raises(ValueError, match="pass the image of each region"):
        contrast(regions(), sum_images=True)


def test_region_contrast__rows_of_the_background_repel_every_class() -> None:
    """A memory of C + 1 classes, of which no query is of the last."""
    memory, filled = a_memory()
    labels, last = LABELS % (C - 1), C - 1
    without = filled.clone()
    without[last] = False
    found = [
        region_contrast(regions(), labels, memory, f, temperature=0.5, generator=seeded())
        for f in (filled, without)
    ]
    mixed, foreign, omega = mix_regions(regions(), labels, generator=seeded())
    for value, f in zip(found, (filled, without), strict=True):
        terms = [info_nce(mixed, one, memory, f, 0.5) for one in (labels, foreign)]
        torch.testing.assert_close(value, (omega * terms[0] + (1 - omega) * terms[1]).mean())
    assert found[0] > found[1]  # more negatives


def test_region_contrast__a_region_of_zeros_keeps_gradients_small() -> None:
    embeddings = torch.zeros(6, D).double().requires_grad_()
    contrast(embeddings).backward()
    assert embeddings.grad.abs().max() < 100


def test_region_contrast__memory_may_be_written_before_going_backward() -> None:
    memory, filled = a_memory()
    gradients = []
    for overwrite in (False, True):
        embeddings, rows = regions().requires_grad_(), memory.clone()
        loss = region_contrast(embeddings, LABELS, rows, filled, generator=seeded())
        if overwrite:
            rows.fill_(7.0)
        loss.backward()
        gradients.append(embeddings.grad)
    assert torch.equal(*gradients)


def test_region_contrast__same_seed_same_loss_and_another_seed_another() -> None:
    memory, filled = a_memory()
    one, two, three = (
        region_contrast(regions(), LABELS, memory, filled, generator=seeded(s)) for s in (1, 1, 2)
    )
    assert torch.equal(one, two)
    assert not torch.equal(one, three)


def test_region_contrast__same_on_every_device(device) -> None:
    memory, filled = a_memory()
    on_device = region_contrast(
        regions().to(device),
        LABELS.to(device),
        memory.to(device),
        filled.to(device),
        temperature=0.5,
        generator=seeded(),
    )
    torch.testing.assert_close(on_device.cpu(), contrast(regions()))


def test_region_contrast__autocast_outside_changes_nothing() -> None:
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = contrast(regions())
    assert torch.equal(inside, contrast(regions()))
