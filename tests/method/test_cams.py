from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rca.method.cams import image_scores, normalise_cams


def naive_normalise(cams: torch.Tensor, tags: torch.Tensor) -> torch.Tensor:
    result = torch.zeros_like(cams)
    for b, image in enumerate(cams):
        for c, cam in enumerate(image):
            if tags[b, c] and cam.max() > 0:
                result[b, c] = cam.clamp(min=0) / cam.max()
    return result


def test_normalise_cams__equals_loop(draws) -> None:
    cams = torch.randn(4, 5, 3, 6, generator=draws)
    tags = torch.rand(4, 5, generator=draws) > 0.5
    torch.testing.assert_close(normalise_cams(cams, tags.float()), naive_normalise(cams, tags))
    torch.testing.assert_close(normalise_cams(cams), naive_normalise(cams, torch.ones_like(tags)))


def test_normalise_cams__no_positive_evidence_gives_zero_not_nan() -> None:
    cams = torch.stack([torch.zeros(3, 3), -torch.ones(3, 3)])[None]
    assert torch.equal(normalise_cams(cams), torch.zeros(1, 2, 3, 3))


@settings(max_examples=30, deadline=None)
@given(exponent=st.integers(-120, 120), seed=st.integers(0, 1000))
def test_normalise_cams__scale_of_a_map_does_not_matter(exponent: int, seed: int) -> None:
    cams = torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(seed))
    torch.testing.assert_close(normalise_cams(cams * 2.0**exponent), normalise_cams(cams))


def test_normalise_cams__every_tagged_map_with_evidence_reaches_one(draws) -> None:
    cams = torch.randn(3, 4, 5, 5, generator=draws)
    peaks = normalise_cams(cams).amax((-2, -1))
    assert torch.equal(peaks, torch.ones(3, 4))


@pytest.mark.parametrize("half", [torch.float16, torch.bfloat16])
def test_normalise_cams__half_precision_is_computed_in_full(half: torch.dtype, draws) -> None:
    cams = torch.randn(2, 3, 4, 4, generator=draws).to(half)
    assert torch.equal(normalise_cams(cams), normalise_cams(cams.float()))


def test_image_scores__mean_of_raw_maps(draws) -> None:
    cams = torch.randn(3, 4, 5, 6, generator=draws)
    scores = image_scores(cams)
    for b in range(3):
        for c in range(4):
            mean = sum(cams[b, c].flatten().tolist()) / 30
            assert scores[b, c].item() == pytest.approx(mean, abs=1e-6)
    assert scores.min() < 0  # negative evidence counts: no ReLU
