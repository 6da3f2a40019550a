"""RSC, regional semantic contrast: InfoNCE of mixed regions against the memory (Eqs. 4 and 6)."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from rca.method.mixup import Partner, mix_regions
from rca.method.numerics import full_precision, unit, usable_length

Form = Literal["paper", "supcon", "clamped"]

# Directions (…, D) → what is compared in their place, (…, D'), of any length.
Project = Callable[[Tensor], Tensor]


@full_precision
def info_nce(
    queries: Tensor,
    labels: Tensor,
    memory: Tensor,
    filled: Tensor,
    temperature: float,
    form: Form,
    exclude: Tensor | None = None,
) -> Tensor:
    """InfoNCE of each query, L_nce of Eq. 4: the mean over its positives i in M_l.

        -log exp(a_i) / (exp(a_i) + Σ_{j ∉ M_l} exp(a_j)),   a = f · m / t,

    computed as softplus(A - a_i) with A = logsumexp_j a_j. Equal similarities give
    log(1 + negatives). A query without positives or without negatives has loss and gradient 0.

    Differs from the released code: unfilled slots never count.

    Args:
        queries: f, (R, D), l2-normalised.
        labels: l, (R,).
        memory: (C, M, D); normalised on reading, without gradient; not to be written before the
            loss has gone backward.
        filled: bool (C, M).
        temperature: t.
        exclude: (R,), a second class whose rows are no negatives of the query.
        form: `supcon` has all positives in the denominator, not only the i-th (Khosla et al.,
            NeurIPS 2020). `clamped` does not let the denominator fall below 1e-4 of the query's
            largest term (released code): where one positive dominates, it no longer counts how
            small the negatives are, and the other positives are pulled at as if it did not.

    Returns:
        (R,).
    """
    similar = _similarities(queries, memory, temperature)
    return _info_nce(similar, labels, filled, exclude, form)


@full_precision
def region_contrast(
    embeddings: Tensor,
    labels: Tensor,
    memory: Tensor,
    filled: Tensor,
    *,
    temperature: float,
    beta: float,
    generator: torch.Generator,
    partner: Partner,
    form: Form,
    normalise_first: bool = False,
    exclude_partner: bool = False,
    images: Tensor | None = None,
    sum_images: bool = False,
    project: Project | None = None,
) -> Tensor:
    """L_rsc, the mean over regions of L_rmnce (Eq. 6), with f̂, l' and ω from `mix_regions`.

        L_rmnce = ω L_nce(f̂, l) + (1 - ω) L_nce(f̂, l')

    Args:
        embeddings: f, (R, D), not normalised.
        labels: l, (R,).
        memory: (C, M, D); may be written before the loss goes backward.
        filled: bool (C, M).
        temperature: t.
        beta: β.
        generator: of ω and of the partners.
        partner: as in `mix_regions`.
        normalise_first: as in `mix_regions`.
        exclude_partner: count the rows of neither class as negatives. Paper: each term leaves out
            its own class only, so the share of l' in f̂ pulls to M_l' in one term and is pushed away
            from it in the other.
        form: as in `info_nce`.
        images: (R,), the image of each region; None where neither `partner` nor `sum_images` needs
            it.
        sum_images: take the mean over the regions of an image and sum over the images (released
            code: the loss grows with the batch).
        project: a head that f̂ and the memory's directions go through before they are compared;
            the memory's side has no gradient. Paper: none.

    Returns:
        A scalar; 0 without regions, the graph attached.

    Raises:
        ValueError: `sum_images` without images.
    """
    if sum_images and images is None:
        raise ValueError("sum_images: pass the image of each region")
    mixed, foreign, omega = mix_regions(
        embeddings,
        labels,
        beta=beta,
        generator=generator,
        partner=partner,
        normalise_first=normalise_first,
        images=images,
    )
    if project is not None:
        mixed = unit(project(mixed))
        with torch.no_grad():
            memory = project(unit(memory))

    def loss_of(queries: Tensor) -> Tensor:
        similar = _similarities(queries, memory, temperature)
        own_term = _info_nce(similar, labels, filled, foreign if exclude_partner else None, form)
        other_term = _info_nce(similar, foreign, filled, labels if exclude_partner else None, form)
        losses = omega * own_term + (1 - omega) * other_term
        if not sum_images or images is None:
            return losses.sum() / max(len(labels), 1)
        return (losses / (images[:, None] == images).sum(dim=1)).sum()

    return _differentiated(loss_of, mixed)


def _differentiated(loss_of: Callable[[Tensor], Tensor], queries: Tensor) -> Tensor:
    """The loss of the queries, its gradient for them taken at once.

    Waiting for the backward pass, it would hold the similarities to all of the memory, and either
    a copy of the memory or the memory itself, which the step is going to write.
    """
    with torch.enable_grad():
        leaf = queries.detach().requires_grad_()
        loss = loss_of(leaf)
        (gradient,) = torch.autograd.grad(loss, leaf)
    return loss.detach() + ((queries - leaf.detach()) * gradient).sum()


def _similarities(queries: Tensor, memory: Tensor, temperature: float) -> Tensor:
    """Cosines over t, (R, C, M); no normalised copy of the memory is made."""
    memory = memory.detach()
    products = torch.einsum("rd,cmd->rcm", queries, memory)
    return products / (usable_length(memory)[..., 0] * temperature)


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

    # Finite: without negatives, -inf would send NaN through the gradient of logsumexp.
    lowest = torch.finfo(similar.dtype).min
    negatives = similar.masked_fill(~negative, lowest).flatten(1)
    positives = own.masked_fill(~positive, lowest)
    repelled = negatives.logsumexp(dim=1, keepdim=True)
    if form == "paper":
        losses = -F.logsigmoid(own - repelled)
    elif form == "supcon":
        losses = torch.logaddexp(repelled, positives.logsumexp(dim=1, keepdim=True)) - own
    elif form == "clamped":
        largest = torch.maximum(negatives.amax(dim=1), positives.amax(dim=1)).detach()[:, None]
        floor = largest + math.log(1e-4)
        losses = torch.maximum(torch.logaddexp(repelled, own), floor) - own
    else:
        raise ValueError(f"InfoNCE form {form!r}: use 'paper', 'supcon' or 'clamped'")
    counted = positive & negative.flatten(1).any(dim=1, keepdim=True)
    return losses.masked_fill(~counted, 0).sum(dim=1) / positive.sum(dim=1).clamp_min(1)
