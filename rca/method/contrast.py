"""RSC, regional semantic contrast: InfoNCE against the memory, with region mixup (Eqs. 4-6)."""

from __future__ import annotations

import math
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from rca.method.precision import full_precision

Form = Literal["paper", "supcon"]
Partner = Literal["other_class", "any"]


@full_precision
def info_nce(
    queries: Tensor,
    labels: Tensor,
    memory: Tensor,
    filled: Tensor,
    temperature: float = 0.07,
    exclude: Tensor | None = None,
    form: Form = "paper",
) -> Tensor:
    """InfoNCE of each query, L_nce of Eq. 4: the mean over its positives i in M_l.

        -log exp(a_i) / (exp(a_i) + Σ_{j ∉ M_l} exp(a_j)),   a = f · m / t,

    computed as softplus(A - a_i) with A = logsumexp_j a_j. Equal similarities give
    log(1 + negatives). A query without positives or without negatives has loss and gradient 0.

    Differs from the released code: no clamp in the logarithm, unfilled slots never count.

    Args:
        queries: f, (R, D), l2-normalised.
        labels: l, (R,).
        memory: (C, M, D); normalised on reading, without gradient.
        filled: bool (C, M).
        temperature: t.
        exclude: (R,), a second class whose rows are no negatives of the query.
        form: `supcon` has all positives in the denominator, not only the i-th (Khosla et al.,
            NeurIPS 2020).

    Returns:
        (R,).
    """
    similar = _similarities(queries, memory, temperature)
    return _info_nce(similar, labels, filled, exclude, form)


@full_precision
def mixup_info_nce(
    embeddings: Tensor,
    labels: Tensor,
    memory: Tensor,
    filled: Tensor,
    *,
    temperature: float = 0.07,
    beta: float = 8.0,
    generator: torch.Generator,
    partner: Partner = "other_class",
    normalise_first: bool = False,
    exclude_partner: bool = False,
    form: Form = "paper",
) -> Tensor:
    """Region mixup InfoNCE, L_rmnce of each region (Eqs. 5-6).

        f̂ = ω f_l + (1 - ω) f_l',   ω ~ Beta(β, β)
        ω L_nce(f̂ / ‖f̂‖, l) + (1 - ω) L_nce(f̂ / ‖f̂‖, l').

    A region with no partner stands for itself (ω = 1).

    Args:
        embeddings: f, (R, D), not normalised.
        labels: l, (R,).
        memory: (C, M, D).
        filled: bool (C, M).
        temperature: t.
        beta: β.
        generator: of ω and of the partners.
        partner: where l' comes from, as in `sample_partners`.
        normalise_first: normalise both regions before they are mixed, so that ω is their share
            whatever their lengths. Paper: only after.
        exclude_partner: count the rows of neither class as negatives. Paper: each term excludes
            its own class only, so f_l' repels M_l' in the first term and attracts it in the second.
        form: as in `info_nce`.

    Returns:
        (R,).
    """
    regions = len(labels)
    other = sample_partners(labels, generator, partner)
    omega = sample_beta(beta, (regions,), generator).to(embeddings)
    omega = omega.masked_fill(other < 0, 1)
    other = torch.where(other < 0, torch.arange(regions, device=labels.device), other)
    if normalise_first:
        embeddings = unit(embeddings)
    mixed = unit(torch.lerp(embeddings[other], embeddings, omega[:, None]))
    similar = _similarities(mixed, memory, temperature)
    foreign = labels[other]
    both = (foreign, labels) if exclude_partner else (None, None)
    own_term = _info_nce(similar, labels, filled, both[0], form)
    foreign_term = _info_nce(similar, foreign, filled, both[1], form)
    return omega * own_term + (1 - omega) * foreign_term


def region_contrast(
    embeddings: Tensor,
    labels: Tensor,
    memory: Tensor,
    filled: Tensor,
    *,
    temperature: float = 0.07,
    beta: float = 8.0,
    generator: torch.Generator,
    partner: Partner = "other_class",
    normalise_first: bool = False,
    exclude_partner: bool = False,
    form: Form = "paper",
) -> Tensor:
    """L_rsc: the mean of `mixup_info_nce` over all regions; 0 without regions, graph attached."""
    losses = mixup_info_nce(
        embeddings,
        labels,
        memory,
        filled,
        temperature=temperature,
        beta=beta,
        generator=generator,
        partner=partner,
        normalise_first=normalise_first,
        exclude_partner=exclude_partner,
        form=form,
    )
    return losses.sum() / max(len(labels), 1)


def sample_partners(
    labels: Tensor, generator: torch.Generator, partner: Partner = "other_class"
) -> Tensor:
    """For each region the index of another to mix with, uniform among those allowed.

    Args:
        labels: (R,).
        generator: of the draw.
        partner: `other_class` draws among the regions of other classes (paper: l' ≠ l). `any` draws
            among all, the region itself included (released code, which draws an image first).

    Returns:
        (R,), -1 where no region is allowed.

    Raises:
        ValueError: the partner rule is unknown.
    """
    if partner not in ("other_class", "any"):
        raise ValueError(f"mixup partner {partner!r}: use 'other_class' or 'any'")
    regions = len(labels)
    if regions == 0:
        return labels
    lots = torch.rand(regions, regions, generator=generator, device=generator.device)
    if partner == "other_class":
        lots = lots.to(labels.device).masked_fill(labels[:, None] == labels, -1)
    highest, index = lots.to(labels.device).max(dim=1)
    return index.masked_fill(highest < 0, -1)


def sample_beta(beta: float, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Draws from Beta(β, β), float64, on the generator's device.

    `torch.distributions` takes no generator. This is exact for every β > 0 (Devroye, Random variate
    generation in one line of code, 1996): with U, V uniform, c = cos 2πV and w = U^(1/β),

        1/2 + c/2 · sqrt((1 - w) / (w + (1 - w) c²)).
    """
    u, v = torch.rand(
        (2, *shape), generator=generator, device=generator.device, dtype=torch.float64
    )
    w, cosine = u ** (1 / beta), torch.cos(2 * math.pi * v)
    tiny = torch.finfo(torch.float64).tiny  # U = 0 where the cosine vanishes
    spread = (1 - w) / (w + (1 - w) * cosine.square()).clamp_min(tiny)
    return (0.5 + 0.5 * cosine * spread.sqrt()).clamp(0, 1)


def unit(vectors: Tensor, shortest: float = 1e-6) -> Tensor:
    """Vectors (…, D) at length 1; those shorter than `shortest` have no direction and stay.

    `F.normalize` would send gradients of 1e12 through a region whose features are all zero.
    """
    length = torch.linalg.vector_norm(vectors, dim=-1, keepdim=True)
    return vectors / length.where(length > shortest, torch.ones_like(length))


def _similarities(queries: Tensor, memory: Tensor, temperature: float) -> Tensor:
    """Cosines over t, (R, C, M), without a normalised copy of the memory."""
    memory = memory.detach()
    length = torch.linalg.vector_norm(memory, dim=-1).clamp_min(1e-12)  # (C, M)
    return torch.einsum("rd,cmd->rcm", queries, memory) / (length * temperature)


def _info_nce(
    similar: Tensor, labels: Tensor, filled: Tensor, exclude: Tensor | None, form: Form
) -> Tensor:
    classes = torch.arange(similar.shape[1], device=labels.device)
    foreign = labels[:, None] != classes  # (R, C)
    if exclude is not None:
        foreign = foreign & (exclude[:, None] != classes)
    negative = foreign[..., None] & filled  # (R, C, M)
    positive = filled[labels]  # (R, M)
    own = similar[torch.arange(len(labels), device=labels.device), labels]  # (R, M)

    # Finite, so that a query without negatives has a loss of 0 and a gradient of 0, not NaN.
    lowest = torch.finfo(similar.dtype).min
    repelled = similar.masked_fill(~negative, lowest).flatten(1).logsumexp(dim=1, keepdim=True)
    if form == "paper":
        losses = -F.logsigmoid(own - repelled)
    elif form == "supcon":
        attracted = own.masked_fill(~positive, lowest).logsumexp(dim=1, keepdim=True)
        losses = torch.logaddexp(repelled, attracted) - own
    else:
        raise ValueError(f"InfoNCE form {form!r}: use 'paper' or 'supcon'")
    counted = positive & negative.flatten(1).any(dim=1, keepdim=True)
    return losses.masked_fill(~counted, 0).sum(dim=1) / positive.sum(dim=1).clamp_min(1)
