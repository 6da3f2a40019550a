from __future__ import annotations

import pytest
import torch

from rca.method.numerics import full_precision, unit


@full_precision
def _product(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return a @ b


@pytest.mark.parametrize("half", [torch.float16, torch.bfloat16])
def test_full_precision__half_inputs_are_widened(half: torch.dtype, draws) -> None:
    a = torch.randn(4, 6, generator=draws).to(half)
    b = torch.randn(6, 3, generator=draws).to(half)
    assert torch.equal(_product(a, b=b), a.float() @ b.float())


def test_full_precision__autocast_outside_changes_nothing(draws) -> None:
    a, b = torch.randn(4, 6, generator=draws), torch.randn(6, 3, generator=draws)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside, outside = _product(a, b), a @ b
    assert torch.equal(inside, a @ b)
    assert outside.dtype == torch.bfloat16  # what it is protected from


def test_full_precision__float64_and_other_types_pass(draws) -> None:
    a = torch.randn(4, 6, generator=draws, dtype=torch.float64)
    assert _product(a, a.T).dtype == torch.float64


def test_unit__length_is_one_whatever_the_scale(draws) -> None:
    vectors = torch.randn(5, 7, generator=draws, dtype=torch.float64)
    for scale in (1e-3, 1.0, 1e6):
        expected = torch.stack([v / v.square().sum().sqrt() for v in vectors])
        torch.testing.assert_close(unit(vectors * scale), expected)


def test_unit__zero_vector_stays_and_its_gradient_is_bounded() -> None:
    vector = torch.zeros(2, 4, requires_grad=True)
    unit(vector).sum().backward()
    assert torch.equal(unit(vector), vector)
    assert vector.grad.abs().max() <= 1


def test_unit__gradient(draws) -> None:
    vectors = torch.randn(3, 4, generator=draws, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(unit, vectors)
