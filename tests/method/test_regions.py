from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from paper import class_regions, pool_regions

from rca.method.regions import background_region, confident_pixels

RULES = ["softmax_mean", "sigmoid_mean", "max_fraction"]


def naive_regions(coarse: torch.Tensor, tags: torch.Tensor, rule: str) -> torch.Tensor:
    """The rule, pixel by pixel, in double precision."""
    images, classes, height, width = coarse.shape
    masks = torch.zeros(coarse.shape, dtype=torch.bool)
    for b in range(images):
        for c in range(classes):
            if not tags[b, c]:
                continue
            score = {}
            for y in range(height):
                for x in range(width):
                    pixel = coarse[b, :, y, x].double().tolist()
                    if rule == "softmax_mean":
                        score[y, x] = math.exp(pixel[c]) / sum(math.exp(v) for v in pixel)
                    elif rule == "sigmoid_mean":
                        score[y, x] = 1 / (1 + math.exp(-pixel[c]))
                    else:
                        score[y, x] = max(pixel[c], 0.0)
            values = list(score.values())
            level = 0.3 * max(values) if rule == "max_fraction" else sum(values) / len(values)
            inside = [place for place, value in score.items() if value > level]
            if not inside or min(values) == max(values):
                raw = {p: coarse[b, c][p].item() for p in score}
                inside = [max(raw, key=raw.get)]
            for place in inside:
                masks[b, c][place] = True
    return masks


@pytest.mark.parametrize("rule", RULES)
def test_class_regions__equals_loop(rule: str, draws) -> None:
    coarse = 2 * torch.randn(3, 4, 5, 6, generator=draws)
    tags = (torch.rand(3, 4, generator=draws) > 0.4).float()
    assert torch.equal(class_regions(coarse, tags, rule), naive_regions(coarse, tags, rule))


def test_class_regions__rules_differ(draws) -> None:
    coarse, tags = 2 * torch.randn(2, 3, 8, 8, generator=draws), torch.ones(2, 3)
    softmax, sigmoid, fraction = (class_regions(coarse, tags, rule) for rule in RULES)
    assert not torch.equal(softmax, sigmoid)
    assert not torch.equal(softmax, fraction)
    assert not torch.equal(sigmoid, fraction)


def test_class_regions__fraction_is_the_level_of_max_fraction() -> None:
    coarse = torch.tensor([0.0, 1.0, 2.0, 3.0, 4.0]).view(1, 1, 1, 5)
    sizes = [
        int(class_regions(coarse, torch.ones(1, 1), "max_fraction", level).sum())
        for level in (0.0, 0.25, 0.6, 0.75)
    ]
    assert sizes == [4, 3, 2, 1]  # strictly above


@pytest.mark.parametrize("rule", RULES)
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_class_regions__tagged_classes_have_a_region_and_others_none(
    rule: str, data: st.DataObject
) -> None:
    values = st.sampled_from([-1e4, -1.0, -1e-7, 0.0, 1e-7, 0.5, 1.0, 1e4])
    images, classes, pixels = (data.draw(st.integers(1, n)) for n in (2, 3, 4))
    count = images * classes * pixels
    flat = data.draw(st.lists(values, min_size=count, max_size=count))
    coarse = torch.tensor(flat).view(images, classes, 1, pixels)
    size = images * classes
    tags = torch.tensor(data.draw(st.lists(st.booleans(), min_size=size, max_size=size)))
    tags = tags.view(images, classes)
    assert torch.equal(class_regions(coarse, tags, rule).any(-1).any(-1), tags)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("value", [-3.0, 0.0, 0.1, 7.0])
def test_class_regions__constant_map_gives_its_first_pixel(rule: str, value: float) -> None:
    masks = class_regions(torch.full((1, 3, 3, 5), value), torch.ones(1, 3), rule)
    expected = torch.zeros(3, 3, 5, dtype=torch.bool)
    expected[:, 0, 0] = True
    assert torch.equal(masks[0], expected)


def test_class_regions__single_class_falls_back_to_the_highest_pixel(draws) -> None:
    coarse = torch.randn(1, 1, 4, 4, generator=draws)  # its softmax is 1 everywhere
    mask = class_regions(coarse, torch.ones(1, 1))
    assert torch.equal(mask, coarse == coarse.max())


def test_class_regions__last_class_included(draws) -> None:
    coarse = torch.randn(1, 5, 4, 4, generator=draws)
    tags = torch.tensor([[0, 0, 0, 0, 1]])
    assert class_regions(coarse, tags)[0, -1].any()


def test_class_regions__same_shift_of_all_classes_does_not_matter_to_the_softmax(draws) -> None:
    coarse, tags = torch.randn(2, 3, 6, 6, generator=draws).double(), torch.ones(2, 3)
    shift = torch.randn(2, 1, 6, 6, generator=draws)
    assert torch.equal(class_regions(coarse + shift, tags), class_regions(coarse, tags))
    assert not torch.equal(
        class_regions(coarse + shift, tags, "sigmoid_mean"),
        class_regions(coarse, tags, "sigmoid_mean"),
    )


@pytest.mark.parametrize("rule", RULES)
def test_class_regions__follow_a_permutation_of_classes_and_images(rule: str, draws) -> None:
    coarse = torch.randn(3, 4, 5, 5, generator=draws).double()
    tags = (torch.rand(3, 4, generator=draws) > 0.5).float()
    classes, images = torch.tensor([2, 0, 3, 1]), torch.tensor([1, 2, 0])
    permuted = class_regions(coarse[images][:, classes], tags[images][:, classes], rule)
    assert torch.equal(permuted, class_regions(coarse, tags, rule)[images][:, classes])


def test_class_regions__carry_no_gradient(draws) -> None:
    coarse = torch.randn(1, 2, 3, 3, generator=draws, requires_grad=True)
    assert not class_regions(coarse, torch.ones(1, 2)).requires_grad


def test_class_regions__half_precision_is_computed_in_full(draws) -> None:
    coarse = torch.randn(2, 3, 8, 8, generator=draws).bfloat16()
    tags = torch.ones(2, 3)
    assert torch.equal(class_regions(coarse, tags), class_regions(coarse.float(), tags))


def test_class_regions__refuses_unknown_rules_and_tags_that_do_not_fit() -> None:
    coarse = torch.zeros(2, 3, 4, 4)
    with pytest.raises(ValueError, match=r"region rule 'otsu': use 'softmax_mean'"):
        class_regions(coarse, torch.ones(2, 3), "otsu")
    with pytest.raises(ValueError, match=r"tags are \(2, 4\)"):
        class_regions(coarse, torch.ones(2, 4))


def naive_pool(features: torch.Tensor, masks: torch.Tensor, sequential: bool) -> torch.Tensor:
    images, classes = masks.shape[:2]
    result = torch.zeros(images, classes, features.shape[1], dtype=features.dtype)
    for b in range(images):
        x = features[b]
        for c in range(classes):
            if masks[b, c].any():
                masked = x * masks[b, c]
                result[b, c] = masked.sum((1, 2)) / masks[b, c].sum()
                if sequential:
                    x = masked
    return result


@pytest.mark.parametrize("pooling", ["independent", "sequential"])
def test_pool_regions__equals_loop(pooling: str, draws) -> None:
    features = torch.randn(3, 6, 4, 5, generator=draws, dtype=torch.float64)
    masks = torch.rand(3, 4, 4, 5, generator=draws) > 0.4
    masks[0, 1] = masks[2, 0] = masks[2, 3] = False
    expected = naive_pool(features, masks, pooling == "sequential")
    torch.testing.assert_close(pool_regions(features, masks, pooling), expected)


def test_pool_regions__poolings_differ_from_the_second_class_on(draws) -> None:
    features = torch.rand(1, 4, 6, 6, generator=draws)
    masks = torch.rand(1, 3, 6, 6, generator=draws) > 0.5
    masks[0, 0] = False  # absent: the second in line is class 2
    independent = pool_regions(features, masks)[0]
    sequential = pool_regions(features, masks, "sequential")[0]
    assert torch.equal(independent[:2], sequential[:2])
    assert (sequential[2] < independent[2]).all()


def test_pool_regions__sequential_pooling_of_disjoint_regions_is_zero() -> None:
    masks = torch.eye(2, dtype=torch.bool).view(1, 2, 1, 2)
    pooled = pool_regions(torch.ones(1, 3, 1, 2), masks, "sequential")
    assert pooled[0].tolist() == [[1, 1, 1], [0, 0, 0]]


def test_pool_regions__empty_region_is_zero_with_zero_gradient(draws) -> None:
    features = torch.randn(1, 3, 4, 4, generator=draws, requires_grad=True)
    pooled = pool_regions(features, torch.zeros(1, 2, 4, 4, dtype=torch.bool))
    pooled.sum().backward()
    assert torch.equal(pooled, torch.zeros(1, 2, 3))
    assert torch.equal(features.grad, torch.zeros_like(features))


@pytest.mark.parametrize("pooling", ["independent", "sequential"])
def test_pool_regions__gradient(pooling: str, draws) -> None:
    features = torch.randn(2, 3, 3, 4, generator=draws, dtype=torch.float64, requires_grad=True)
    masks = torch.rand(2, 3, 3, 4, generator=draws) > 0.5
    assert torch.autograd.gradcheck(lambda x: pool_regions(x, masks, pooling), features)


def test_pool_regions__constant_features_pool_to_themselves(draws) -> None:
    vector = torch.randn(5, generator=draws)
    masks = torch.rand(2, 3, 4, 4, generator=draws) > 0.3
    pooled = pool_regions(vector.view(1, 5, 1, 1).expand(2, 5, 4, 4), masks)
    torch.testing.assert_close(pooled, vector.expand(2, 3, 5))


def test_pool_regions__refuses_unknown_poolings() -> None:
    with pytest.raises(ValueError, match="pooling 'max': use 'independent' or 'sequential'"):
        pool_regions(torch.zeros(1, 2, 3, 3), torch.ones(1, 1, 3, 3, dtype=torch.bool), "max")


@pytest.mark.parametrize("share", [0.01, 0.35, 0.5, 1.0])
def test_confident_pixels__equals_loop(share: float, draws) -> None:
    coarse = torch.randn(2, 3, 4, 5, generator=draws).round(decimals=1)  # some are equal
    masks = torch.rand(2, 3, 4, 5, generator=draws) > 0.4
    masks[1, 2] = False
    kept = confident_pixels(masks, coarse, share)
    for b in range(2):
        for c in range(3):
            pixels = [p for p in range(20) if masks[b, c].flatten()[p]]
            pixels.sort(key=lambda p: -coarse[b, c].flatten()[p].item())  # stable
            chosen = pixels[: math.ceil(len(pixels) * share)]
            assert kept[b, c].flatten().nonzero()[:, 0].tolist() == sorted(chosen)


def test_confident_pixels__a_region_keeps_at_least_a_pixel_and_all_at_one(draws) -> None:
    coarse = torch.randn(2, 3, 4, 5, generator=draws)
    masks = class_regions(coarse, torch.ones(2, 3))
    assert confident_pixels(masks, coarse, 1e-6).flatten(2).sum(2).eq(1).all()
    assert torch.equal(confident_pixels(masks, coarse, 1.0), masks)


@pytest.mark.parametrize("level", [0.0, 0.3, 1.0])
def test_background_region__equals_loop(level: float, draws) -> None:
    coarse = torch.randn(4, 3, 5, 6, generator=draws)
    tags = torch.tensor([[1, 0, 0], [1, 0, 1], [0, 0, 0], [1, 1, 1]])
    masks = class_regions(coarse, tags)
    found = background_region(coarse, tags, masks, level)
    assert found.shape == (4, 1, 5, 6)
    for b in range(4):
        for y in range(5):
            for x in range(6):
                free = True
                for c in range(3):
                    scaled = max(coarse[b, c, y, x].item(), 0) / coarse[b, c].max().item()
                    claimed = masks[b, c, y, x] or (level < 1 and scaled >= level)
                    free &= not (tags[b, c] and claimed)
                assert found[b, 0, y, x] == free
    assert found[2].all()  # nothing is tagged


def test_background_region__is_empty_where_classes_claim_all() -> None:
    masks = torch.ones(1, 2, 3, 3, dtype=torch.bool)
    assert not background_region(torch.ones(1, 2, 3, 3), torch.ones(1, 2), masks, 1.0).any()


def test_background_region__follows_a_permutation_of_the_classes(draws) -> None:
    coarse, tags = torch.randn(2, 4, 5, 5, generator=draws), torch.tensor([[1, 0, 1, 1]] * 2)
    order = torch.tensor([2, 0, 3, 1])
    masks = class_regions(coarse, tags)
    one = background_region(coarse, tags, masks, 0.3)
    other = background_region(coarse[:, order], tags[:, order], masks[:, order], 0.3)
    assert torch.equal(one, other)
