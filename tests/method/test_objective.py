from __future__ import annotations

import copy
import dataclasses
import math

import pytest
import torch
from paper import class_regions, memory_bank, objective_settings, pool_regions, region_contrast

from rca.method.memory import MemoryBank
from rca.method.objective import (
    ObjectiveSettings,
    entering_regions,
    memorise,
    multilabel_loss,
    query_regions,
    rca_losses,
    region_masks,
)
from rca.method.regions import background_region, confident_pixels

B, C, D, H, W, M = 3, 4, 6, 5, 7, 8
TAGS = torch.tensor([[1.0, 0, 1, 0], [0, 1, 0, 1], [1, 0, 1, 1]])
PAPER = objective_settings()


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def normal(*shape: int, seed: int) -> torch.Tensor:
    return torch.randn(shape, generator=seeded(seed), dtype=torch.float64)


def maps(dtype: torch.dtype = torch.float64) -> tuple[torch.Tensor, ...]:
    """Features, coarse and final CAMs, as leaves."""
    features = normal(B, D, H, W, seed=1)
    coarse, final = (3 * normal(B, C, H, W, seed=seed) for seed in (2, 3))
    final += 2 * normal(B, C, 1, 1, seed=5)  # some images are recognised, some are not
    return tuple(t.to(dtype).requires_grad_() for t in (features, coarse, final))


def a_memory() -> MemoryBank:
    memory = memory_bank(C, M, D).double()
    memory.enqueue(normal(14, D, seed=4), torch.arange(14) % C)
    return memory


def with_background() -> MemoryBank:
    """A memory whose last class is the background."""
    memory = memory_bank(C + 1, M, D).double()
    memory.enqueue(normal(17, D, seed=4), torch.arange(17) % (C + 1))
    return memory


def losses(settings: ObjectiveSettings = PAPER, epoch: int = 2, **changes) -> dict:
    features, coarse, final = changes.get("maps", maps())
    tags, memory = changes.get("tags", TAGS), changes.get("memory", a_memory())
    return rca_losses(features, coarse, final, tags, memory, settings, epoch, seeded(2))


def test_multilabel_loss__equals_loop() -> None:
    logits = 4 * normal(B, C, seed=0)
    total = 0.0
    for b in range(B):
        for c in range(C):
            p = 1 / (1 + math.exp(-logits[b, c]))
            total -= math.log(p) if TAGS[b, c] else math.log(1 - p)
    assert multilabel_loss(logits, TAGS).item() == pytest.approx(total / (B * C))


def test_multilabel_loss__half_precision_is_computed_in_full() -> None:
    logits = normal(B, C, seed=0).bfloat16()
    assert torch.equal(multilabel_loss(logits, TAGS), multilabel_loss(logits.float(), TAGS))


def test_objective_settings__defaults_are_the_paper_s_and_the_released_code_s() -> None:
    assert dataclasses.asdict(PAPER) == {
        "auxiliary_weight": 0.4,
        "contrast": True,
        "contrast_weight": 0.01,
        "contrast_start_epoch": 2,
        "temperature": 0.07,
        "beta": 8.0,
        "gate": 0.7,
        "region_rule": "softmax_mean",
        "region_fraction": 0.3,
        "confident_share": 1.0,
        "query_gate": 0.0,
        "background": False,
        "background_level": 0.3,
        "background_queries": False,
        "memory_pooling": "independent",
        "partner": "other_class",
        "normalise_first": False,
        "exclude_partner": False,
        "form": "paper",
        "sum_images": False,
    }


def test_rca_losses__is_the_weighted_sum_of_its_parts() -> None:
    features, coarse, final = maps()
    memory = a_memory()
    settings = objective_settings(auxiliary_weight=0.3, contrast_weight=0.2)
    result = losses(settings)
    masks = class_regions(coarse, TAGS)
    regions = [(b, c) for b in range(B) for c in range(C) if TAGS[b, c]]
    embeddings = torch.stack([pool_regions(features, masks)[b, c] for b, c in regions])
    contrast = region_contrast(
        embeddings,
        torch.tensor([c for _, c in regions]),
        memory.rows,
        memory.filled,
        generator=seeded(2),
    )
    parts = {
        "final": multilabel_loss(final.mean((2, 3)), TAGS),
        "coarse": multilabel_loss(coarse.mean((2, 3)), TAGS),
        "contrast": contrast,
    }
    for name, value in parts.items():
        torch.testing.assert_close(result[name], value.detach())
        assert not result[name].requires_grad
    total = parts["final"] + 0.3 * parts["coarse"] + 0.2 * parts["contrast"]
    torch.testing.assert_close(result["loss"], total)
    assert set(result) == {"loss", "final", "coarse", "contrast"}


@pytest.mark.parametrize(
    ("settings", "epoch"),
    [(PAPER, 1), (objective_settings(contrast=False), 9)],
    ids=["too early", "off"],
)
def test_rca_losses__no_contrast(settings: ObjectiveSettings, epoch: int) -> None:
    result = losses(settings, epoch)
    assert result["contrast"].item() == 0
    torch.testing.assert_close(result["loss"].detach(), result["final"] + 0.4 * result["coarse"])


def test_rca_losses__contrast_starts_at_its_epoch() -> None:
    started = [losses(epoch=epoch)["contrast"].item() > 0 for epoch in range(4)]
    assert started == [False, False, True, True]


def test_rca_losses__gradients_go_where_they_should() -> None:
    features, coarse, final = leaves = maps()
    losses(maps=leaves)["loss"].backward()
    assert features.grad.abs().sum() > 0  # by the contrast alone
    # Class maps are trained by classification only: regions carry no gradient.
    flat = coarse.grad.flatten(2)
    assert torch.equal(flat, flat[..., :1].expand_as(flat))
    assert final.grad.abs().sum() > 0


def test_rca_losses__gradient() -> None:
    features, coarse, final = (t.detach() for t in maps())
    settings = objective_settings(contrast_weight=1.0, temperature=0.5)
    memory = a_memory()

    def total(f: torch.Tensor, o: torch.Tensor) -> torch.Tensor:
        return rca_losses(f, coarse, o, TAGS, memory, settings, 2, seeded())["loss"]

    small = (features[..., :2, :2].requires_grad_(), final[..., :2, :2].requires_grad_())
    coarse = coarse[..., :2, :2]
    assert torch.autograd.gradcheck(total, small)


@pytest.mark.parametrize(
    "changes",
    [
        {"tags": torch.zeros(B, C)},
        {"memory": memory_bank(C, M, D).double()},
        {"tags": torch.tensor([[0.0, 1, 0, 0]]).expand(B, C)},
        {"maps": tuple(torch.zeros(B, n, H, W).double().requires_grad_() for n in (D, C, C))},
    ],
    ids=["no tag", "empty memory", "one class in all images", "constant maps"],
)
def test_rca_losses__finite_with_finite_gradients(changes: dict) -> None:
    leaves = changes.setdefault("maps", maps())
    result = losses(**changes)
    result["loss"].backward()
    assert all(value.isfinite() for value in result.values())
    assert leaves[0].grad.isfinite().all()
    assert leaves[2].grad.isfinite().all()


def test_rca_losses__single_class() -> None:
    memory = memory_bank(1, M, D).double()
    leaves = tuple(normal(B, n, H, W, seed=0).requires_grad_() for n in (D, 1, 1))
    memorise(*leaves, torch.ones(B, 1), memory, objective_settings(gate=0.0))
    result = losses(maps=leaves, tags=torch.ones(B, 1), memory=memory)
    assert memory.count.tolist() == [B]
    assert result["contrast"].item() == 0  # nothing to contrast with
    assert result["loss"].isfinite()


SWITCHES = [
    {"region_rule": "sigmoid_mean"},
    {"partner": "any"},
    {"normalise_first": True},
    {"exclude_partner": True},
    {"form": "supcon"},
    {"sum_images": True},
    {"partner": "other_image"},
    {"confident_share": 0.3},
    {"query_gate": 0.6},
    {"background_queries": True},
    {"temperature": 0.2},
    {"beta": 0.5},
]


@pytest.mark.parametrize("switch", SWITCHES, ids=lambda switch: next(iter(switch)))
def test_rca_losses__every_switch_arrives(switch: dict) -> None:
    memory = with_background() if "background_queries" in switch else a_memory()
    switched = losses(objective_settings(**switch), memory=memory)["contrast"]
    assert abs((switched - losses(memory=memory)["contrast"]).item()) > 1e-4


def test_rca_losses__same_seed_same_bytes() -> None:
    one, two = (losses(maps=maps(torch.float32), memory=a_memory().float()) for _ in range(2))
    assert torch.equal(one["loss"], two["loss"])


def test_rca_losses__order_of_the_images_does_not_matter_to_classification() -> None:
    order = torch.tensor([2, 0, 1])
    settings = objective_settings(contrast=False)
    permuted = losses(settings, maps=tuple(t[order] for t in maps()), tags=TAGS[order])
    torch.testing.assert_close(permuted["loss"], losses(settings)["loss"])


def test_rca_losses__autocast_outside_changes_nothing() -> None:
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = losses(maps=maps(torch.float32), memory=a_memory().float())
    outside = losses(maps=maps(torch.float32), memory=a_memory().float())
    assert torch.equal(inside["loss"], outside["loss"])


def test_rca_losses__same_on_every_device(device) -> None:
    on_device = losses(
        maps=tuple(t.detach().to(device).requires_grad_() for t in maps()),
        tags=TAGS.to(device),
        memory=a_memory().to(device),
    )
    torch.testing.assert_close(on_device["loss"].cpu(), losses()["loss"])


def test_memorise__what_enters_is_tagged_confident_and_in_order() -> None:
    features, coarse, final = maps()
    memory = memory_bank(C, M, D).double()
    embeddings, labels, images = memorise(features, coarse, final, TAGS, memory, PAPER)
    pooled = pool_regions(features, class_regions(coarse, TAGS)).detach()
    expected = [
        (pooled[b, c], c)
        for b in range(B)
        for c in range(C)
        if TAGS[b, c] and final[b, c].mean().sigmoid() > 0.7
    ]
    assert 0 < len(expected) < TAGS.sum()
    assert labels.tolist() == [c for _, c in expected]
    assert images.tolist() == sorted(images.tolist())
    torch.testing.assert_close(embeddings, torch.stack([e for e, _ in expected]))
    assert not embeddings.requires_grad
    for c in range(C):
        rows = [e for e, label in expected if label == c]
        assert memory.count[c] == len(rows)
        if rows:
            torch.testing.assert_close(memory.rows[c, : len(rows)], torch.stack(rows))


@pytest.mark.parametrize("regions_of", [entering_regions, query_regions])
def test_regions__come_from_the_step_s_masks_where_they_are_given(regions_of) -> None:
    features, coarse, final = maps()
    settings = objective_settings(gate=0.0, confident_share=0.5)
    masks = region_masks(coarse, TAGS, settings)
    expected = regions_of(features, coarse, final, TAGS, settings)
    given = regions_of(features, coarse, final, TAGS, settings, masks)
    torch.testing.assert_close(given, expected, rtol=0, atol=0)
    masks[:, :, 0] = False
    given = regions_of(features, coarse, final, TAGS, settings, masks)
    assert not torch.equal(given.embeddings, expected.embeddings)


@pytest.mark.parametrize("gate", [0.0, 1.0])
def test_memorise__gate(gate: float) -> None:
    memory = memory_bank(C, M, D).double()
    _, labels, _ = memorise(*maps(), TAGS, memory, objective_settings(gate=gate))
    assert len(labels) == (TAGS.sum() if gate == 0 else 0)
    assert memory.count.sum() == len(labels)


def test_memorise__sequential_pooling_is_over_the_regions_that_enter() -> None:
    settings = objective_settings(gate=0.5, memory_pooling="sequential")
    embeddings = memorise(*maps(), TAGS, memory_bank(C, M, D).double(), settings).embeddings
    features, coarse, final = maps()
    naive = []
    for b in range(B):
        x = features[b]
        for c in range(C):
            if TAGS[b, c] and final[b, c].mean().sigmoid() > 0.5:
                probability = coarse[b].softmax(dim=0)[c]
                mask = probability > probability.mean()
                x = x * mask
                naive.append(x.sum((1, 2)) / mask.sum())
    torch.testing.assert_close(embeddings, torch.stack(naive).detach())
    independent = entering_regions(*maps(), TAGS, objective_settings(gate=0.5))
    assert not torch.allclose(embeddings, independent.embeddings)


def test_memorise__may_come_before_going_backward() -> None:
    gradients = []
    for before in (False, True):
        leaves, memory = maps(), a_memory()
        result = losses(maps=leaves, memory=memory)
        if before:
            memorise(*leaves, TAGS, memory, objective_settings(gate=0.0))
        result["loss"].backward()
        gradients.append(leaves[0].grad)
    assert torch.equal(*gradients)


def test_entering_regions__of_all_ranks_in_their_order_give_the_memory_of_one() -> None:
    """Two processes with half a batch each, gathering, and one with the whole."""
    settings = objective_settings(gate=0.0)
    together, apart = a_memory(), a_memory()
    memorise(*maps(), TAGS, together, settings)
    ranks = [slice(0, 1), slice(1, B)]
    parts = [entering_regions(*(t[r] for t in (*maps(), TAGS)), settings) for r in ranks]
    apart.enqueue(*(torch.cat(tensors) for tensors in zip(*parts, strict=True)))
    torch.testing.assert_close(copy.copy(apart.state_dict()), together.state_dict())


BACKGROUND = objective_settings(
    gate=0.0,
    background=True,
    background_queries=True,
    background_level=0.8,
    region_rule="max_fraction",
    confident_share=0.5,
)


@pytest.mark.parametrize("regions_of", [entering_regions, query_regions])
def test_regions__of_the_background_come_last_of_each_image(regions_of) -> None:
    features, coarse, final = maps()
    masks = class_regions(coarse, TAGS, "max_fraction")
    rest = background_region(coarse, TAGS, masks, 0.8)
    classes = pool_regions(features, confident_pixels(masks, coarse, 0.5))
    background = pool_regions(features, rest)
    expected = []
    for b in range(B):
        expected += [(classes[b, c], c, b) for c in range(C) if TAGS[b, c]]
        expected += [(background[b, 0], C, b)] if rest[b].any() else []
    assert any(label == C for _, label, _ in expected)
    embeddings, labels, images = regions_of(features, coarse, final, TAGS, BACKGROUND)
    torch.testing.assert_close(embeddings, torch.stack([row for row, _, _ in expected]))
    assert labels.tolist() == [label for _, label, _ in expected]
    assert images.tolist() == [image for _, _, image in expected]


def test_regions__an_image_without_background_has_none() -> None:
    features, _, final = maps()
    coarse = torch.full((B, C, H, W), 2.0).double()
    coarse[..., 0, 0] = 2.1  # every pixel is above the level
    labels = query_regions(features, coarse, final, TAGS, BACKGROUND).labels
    assert len(labels) == TAGS.sum()
    assert C not in labels.tolist()


def test_query_regions__the_gate_keeps_classes_that_are_not_believed_out() -> None:
    features, coarse, final = maps()
    _, labels, images = query_regions(
        features, coarse, final, TAGS, objective_settings(query_gate=0.7)
    )
    believed = TAGS.bool() & (final.mean((2, 3)).sigmoid() > 0.7)
    assert 0 < believed.sum() < TAGS.sum()
    assert list(zip(images.tolist(), labels.tolist(), strict=True)) == [
        tuple(pair) for pair in believed.nonzero().tolist()
    ]


def test_memorise__background_has_a_memory_of_its_own_and_repels() -> None:
    leaves = maps()
    memory = memory_bank(C + 1, M, D).double()
    labels = memorise(*leaves, TAGS, memory, BACKGROUND).labels
    assert memory.count[C] == (labels == C).sum() > 0
    repelled = losses(maps=leaves, memory=memory)["contrast"]
    memory.count[C] = 0
    assert repelled > losses(maps=leaves, memory=memory)["contrast"]


def test_memorise__image_ema_keeps_an_entry_for_each_name() -> None:
    settings = objective_settings(gate=0.0)
    memory = memory_bank(C, M, D, "image_ema", momentum=0.5).double()
    names = torch.tensor([41, 7, 12])
    found = memorise(*maps(), TAGS, memory, settings, names=names)
    before = memory.rows.clone()
    assert set(found.images.tolist()) == {41, 7, 12}
    doubled = tuple(3 * value if n == 0 else value for n, value in enumerate(maps()))
    memorise(*doubled, TAGS, memory, settings, names=names)
    assert memory.count.tolist() == TAGS.sum(0).tolist()  # no new entries
    torch.testing.assert_close(memory.rows, 2 * before)  # 0.5 · f + 0.5 · 3f


def test_rca_losses__projection_is_trained_by_the_contrast_alone() -> None:
    head = torch.nn.Linear(D, 3).double()
    features, coarse, final = maps()
    result = rca_losses(
        features, coarse, final, TAGS, a_memory(), PAPER, 2, seeded(2), project=head
    )
    assert abs((result["contrast"] - losses()["contrast"]).item()) > 1e-3
    result["loss"].backward()
    assert head.weight.grad.abs().sum() > 0
