from __future__ import annotations

import math

import pytest
import torch
from paper import aggregate, linear_maps, prototype_affinity

from rca.method.aggregation import ParametricAggregation

B, D, H, W, C, K = 2, 4, 3, 5, 3, 2
SCALES = ["one", "rsqrt_dim", "cosine"]
VALID = torch.tensor([[True, True], [False, False], [True, True]])


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    draws = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=draws, dtype=torch.float64)


FEATURES, PROTOTYPES = normal(B, D, H, W), normal(C, K, D, seed=1)


def naive_affinity(
    pixel: list[float], prototypes: list[list[float]], scale: str, null: bool
) -> list[float]:
    def dot(a: list[float], b: list[float]) -> float:
        return sum(x * y for x, y in zip(a, b, strict=True))

    logits = []
    for prototype in prototypes:
        logit = dot(pixel, prototype)
        if scale == "rsqrt_dim":
            logit /= math.sqrt(len(pixel))
        elif scale == "cosine":
            logit /= math.sqrt(dot(pixel, pixel) * dot(prototype, prototype)) * 0.07
        logits.append(logit)
    total = sum(math.exp(logit) for logit in logits) + (1.0 if null else 0.0)
    return [math.exp(logit) / total for logit in logits]


@pytest.mark.parametrize("null", [False, True])
@pytest.mark.parametrize("scale", SCALES)
def test_aggregate__equals_loop(scale: str, null: bool) -> None:
    affinity = prototype_affinity(FEATURES, PROTOTYPES, VALID, scale, null=null)
    context = aggregate(FEATURES, PROTOTYPES, VALID, scale, null=null)
    assert affinity.shape == (B, C * K, H, W)
    assert context.shape == (B, 2 * D, H, W)
    assert torch.equal(context[:, :D], FEATURES)
    used = [0, 1, 4, 5]  # of the C·K prototypes; the second class has none
    rows = [PROTOTYPES.flatten(0, 1)[q].tolist() for q in used]
    for b in range(B):
        for y in range(H):
            for x in range(W):
                weights = naive_affinity(FEATURES[b, :, y, x].tolist(), rows, scale, null)
                assert affinity[b, used, y, x].tolist() == pytest.approx(weights)
                assert affinity[b, [2, 3], y, x].tolist() == [0, 0]
                mixed = [
                    sum(w * row[d] for w, row in zip(weights, rows, strict=True)) for d in range(D)
                ]
                assert context[b, D:, y, x].tolist() == pytest.approx(mixed)


@pytest.mark.parametrize("null", [False, True])
@pytest.mark.parametrize("scale", SCALES)
def test_linear_maps__equal_the_convolution_of_the_aggregated_features(scale, null) -> None:
    def gradients(through_context: bool) -> list[torch.Tensor]:
        features, weight, bias = (
            leaf.clone().requires_grad_()
            for leaf in (FEATURES, normal(5, 2 * D, 1, 1, seed=2), normal(5, seed=3))
        )
        if through_context:
            joined = aggregate(features, PROTOTYPES, VALID, scale, null=null)
            maps = torch.nn.functional.conv2d(joined, weight, bias)
        else:
            maps = linear_maps(
                features, PROTOTYPES, VALID, scale, null=null, weight=weight, bias=bias
            )
        loss = (maps * normal(B, 5, H, W, seed=4)).sum()
        return [maps, *torch.autograd.grad(loss, (features, weight, bias))]

    for factored, joined in zip(gradients(False), gradients(True), strict=True):
        torch.testing.assert_close(factored, joined)


@pytest.mark.parametrize("scale", SCALES)
def test_prototype_affinity__sums_to_one(scale: str) -> None:
    affinity = prototype_affinity(100 * FEATURES.float(), PROTOTYPES.float(), VALID, scale)
    torch.testing.assert_close(affinity.sum(dim=1), torch.ones(B, H, W))


def test_prototype_affinity__null_prototype_takes_the_rest() -> None:
    alike = prototype_affinity(FEATURES, PROTOTYPES, VALID)
    null = prototype_affinity(FEATURES, PROTOTYPES, VALID, null=True)
    taken = null.sum(dim=1, keepdim=True)
    assert ((taken > 0) & (taken < 1)).all()
    torch.testing.assert_close(null / taken, alike)
    # A pixel opposed to every prototype takes almost nothing.
    opposed = -100 * PROTOTYPES[0, 0].view(1, D, 1, 1)
    one = VALID & (torch.arange(C * K).view(C, K) == 0)
    assert prototype_affinity(opposed, PROTOTYPES, one, null=True).sum() < 1e-6


def test_prototype_affinity__scales_differ_in_sharpness() -> None:
    features, prototypes = normal(1, 512, 6, 6).relu(), normal(4, 10, 512, seed=1).relu()
    valid = torch.ones(4, 10, dtype=torch.bool)
    entropies = {}
    for scale in SCALES:
        affinity = prototype_affinity(features, prototypes, valid, scale)
        entropies[scale] = -(affinity * affinity.clamp_min(1e-30).log()).sum(1).mean().item()
    assert entropies["one"] < 0.2 * math.log(40)  # nearly one-hot
    assert entropies["rsqrt_dim"] > 0.9 * math.log(40)  # nearly even
    assert entropies["one"] < entropies["cosine"] < entropies["rsqrt_dim"]


def test_prototype_affinity__only_the_cosine_ignores_lengths() -> None:
    for scale in SCALES:
        same = prototype_affinity(FEATURES, PROTOTYPES, VALID, scale)
        longer = prototype_affinity(3 * FEATURES, 5 * PROTOTYPES, VALID, scale)
        assert torch.allclose(longer, same) == (scale == "cosine")


def test_prototype_affinity__temperature_sharpens_the_cosine() -> None:
    cold, warm = (prototype_affinity(FEATURES, PROTOTYPES, VALID, "cosine", t) for t in (0.07, 1.0))
    assert (cold.amax(dim=1) > warm.amax(dim=1)).all()


def test_prototype_affinity__follows_a_permutation_of_classes() -> None:
    order = torch.tensor([2, 0, 1])
    permuted = aggregate(FEATURES, PROTOTYPES[order], VALID[order])
    torch.testing.assert_close(permuted, aggregate(FEATURES, PROTOTYPES, VALID))


@pytest.mark.parametrize("scale", SCALES)
def test_prototype_affinity__what_invalid_prototypes_hold_does_not_matter(scale: str) -> None:
    rubbish = torch.where(VALID[..., None], PROTOTYPES, 1e6)
    expected = prototype_affinity(FEATURES, PROTOTYPES, VALID, scale)
    assert torch.equal(prototype_affinity(FEATURES, rubbish, VALID, scale), expected)


@pytest.mark.parametrize("null", [False, True])
@pytest.mark.parametrize("scale", SCALES)
def test_aggregate__context_is_zero_without_prototypes(scale: str, null: bool) -> None:
    features = FEATURES.clone().requires_grad_()
    none = torch.zeros_like(VALID)
    context = aggregate(features, PROTOTYPES, none, scale, null=null)
    context.sum().backward()
    assert torch.equal(context[:, D:], torch.zeros_like(FEATURES))
    assert torch.equal(features.grad, torch.ones_like(FEATURES))  # of F itself


def test_aggregate__a_single_prototype_is_the_context_everywhere() -> None:
    only = torch.zeros_like(VALID)
    only[2, 1] = True
    context = aggregate(FEATURES, PROTOTYPES, only)[:, D:]
    torch.testing.assert_close(context, PROTOTYPES[2, 1].view(1, D, 1, 1).expand(B, D, H, W))


@pytest.mark.parametrize("null", [False, True])
@pytest.mark.parametrize("scale", SCALES)
def test_aggregate__gradient_reaches_features_and_not_prototypes(scale: str, null: bool) -> None:
    features, prototypes = (t.clone().requires_grad_() for t in (FEATURES[:1, :, :2], PROTOTYPES))
    assert torch.autograd.gradcheck(
        lambda f: aggregate(f, prototypes, VALID, scale, 0.5, null), features
    )
    aggregate(features, prototypes, VALID, scale).sum().backward()
    assert prototypes.grad is None


@pytest.mark.parametrize("scale", SCALES)
def test_aggregate__zero_features_keep_gradients_finite(scale: str) -> None:
    features = torch.zeros(1, D, 2, 2, requires_grad=True)
    aggregate(features, PROTOTYPES.float(), VALID, scale).sum().backward()
    assert features.grad.isfinite().all()


def test_aggregate__under_autocast_the_affinity_is_computed_in_full() -> None:
    features, prototypes = 30 * FEATURES.float(), PROTOTYPES.float()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        affinity = prototype_affinity(features, prototypes, VALID)
        context = aggregate(features.bfloat16(), prototypes, VALID)
    assert torch.equal(affinity, prototype_affinity(features, prototypes, VALID))
    assert context.dtype == torch.bfloat16


def test_aggregate__half_precision_features_stay_so() -> None:
    half = aggregate(FEATURES.bfloat16(), PROTOTYPES.float(), VALID)
    full = aggregate(FEATURES.bfloat16().float(), PROTOTYPES.float(), VALID)
    assert torch.equal(half, full.bfloat16())


def test_aggregate__same_on_every_device(device) -> None:
    on_device = aggregate(FEATURES.to(device), PROTOTYPES.to(device), VALID.to(device))
    torch.testing.assert_close(on_device.cpu(), aggregate(FEATURES, PROTOTYPES, VALID))


def test_aggregate__refuses_unknown_scales_and_other_channels() -> None:
    with pytest.raises(ValueError, match="affinity scale 'two': use 'one', 'rsqrt_dim'"):
        aggregate(FEATURES, PROTOTYPES, VALID, "two")
    with pytest.raises(ValueError, match="features have 4 channels, prototypes 3"):
        aggregate(FEATURES, PROTOTYPES[..., :3], VALID)


def parametric() -> ParametricAggregation:
    module = ParametricAggregation(D).double()
    for number, parameter in enumerate(module.parameters()):
        parameter.data = normal(*parameter.shape, seed=number)
    return module


def test_parametric_aggregation__equals_loop() -> None:
    module = parametric()
    result = module(FEATURES, PROTOTYPES, VALID)
    assert torch.equal(result[:, :D], FEATURES)
    rows = PROTOTYPES.flatten(0, 1)[[0, 1, 4, 5]]
    query, output = (
        (layer.weight.data[:, :, 0, 0], layer.bias.data) for layer in (module.query, module.output)
    )
    for b in range(B):
        for y in range(H):
            for x in range(W):
                q = query[0] @ FEATURES[b, :, y, x] + query[1]
                mixed = torch.zeros(D).double()
                for row in rows:
                    k = module.key.weight.data @ row + module.key.bias.data
                    v = module.value.weight.data @ row + module.value.bias.data
                    mixed += (q @ k) * C / K * v
                expected = output[0] @ mixed + output[1]
                torch.testing.assert_close(result[b, D:, y, x].detach(), expected)


def test_parametric_aggregation__learns_and_is_no_softmax() -> None:
    module = parametric()
    result = module(FEATURES, PROTOTYPES, VALID)
    result.sum().backward()
    assert all(p.grad.abs().sum() > 0 for p in module.parameters())
    # Linear in the query's projection: twice the affinity, twice the context.
    for parameter in module.query.parameters():
        parameter.data *= 2
    context = module(FEATURES, PROTOTYPES, VALID)[:, D:] - module.output.bias.view(1, D, 1, 1)
    torch.testing.assert_close(context, 2 * (result[:, D:] - module.output.bias.view(1, D, 1, 1)))
