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
    """Compute L_nce of Eq. 4, the InfoNCE of each query: the mean over its positives i in M_l.

        -log exp(a_i) / (exp(a_i) + Σ_{j ∉ M_l} exp(a_j)),   a = f · m / t,

    computed as softplus(A - a_i) with A = logsumexp_j a_j. Equal similarities give
    log(1 + negatives). A query without positives or without negatives has loss and gradient 0.

    Differs from the released code: unfilled slots never count.

    Args:
        queries: f, the l2-normalised regions, (R, D).
        labels: l, the class of each region, (R,).
        memory: The memory, (C, M, D), normalised on reading, without gradient. It must not be
            written before the loss has gone backward.
        filled: Which slots are filled, bool (C, M).
        temperature: t, the temperature.
        form: `paper` is the above. `supcon` has all positives in the denominator, not only the i-th
            (Khosla et al., NeurIPS 2020). `clamped` does not let the denominator fall below 1e-4 of
            the query's largest term (released code). Where one positive dominates, this floor
            replaces the denominators of the other positives: how small the negatives are no longer
            counts, and these positives are pulled at full strength.
        exclude: A second class for each query, (R,), whose rows are not negatives of it. None for
            no second class.

    Returns:
        The losses, (R,).
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
    """Compute L_rsc, the mean over regions of L_rmnce (Eq. 6), with f̂, l', ω from `mix_regions`.

        L_rmnce = ω L_nce(f̂, l) + (1 - ω) L_nce(f̂, l')

    Args:
        embeddings: f, the embeddings of the regions, (R, D), not normalised.
        labels: l, the class of each region, (R,).
        memory: The memory, (C, M, D). It may be written before the loss goes backward.
        filled: Which slots are filled, bool (C, M).
        temperature: t, the temperature.
        beta: β, the parameter of the distribution of ω.
        generator: The generator of ω and of the partners.
        partner: The rule for partners, as in `mix_regions`.
        form: The form of the loss, as in `info_nce`.
        normalise_first: Whether to normalise before mixing, as in `mix_regions`.
        exclude_partner: Whether the rows of both classes are left out of the negatives. Paper: each
            term leaves out its own class only, so the share of l' in f̂ is pulled towards M_l' in
            one term and pushed away from it in the other.
        images: The image of each region, (R,). None if neither `partner` nor `sum_images` needs it.
        sum_images: Whether to take the mean over the regions of an image and sum over the images
            (released code: the loss grows with the batch).
        project: A head that f̂ and the memory's directions go through before they are compared. The
            memory's side has no gradient. Paper: none.

    Returns:
        A scalar with the graph attached; 0 without regions.

    Raises:
        ValueError: `sum_images` is set without images.
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
    """Compute the loss of the queries, and its gradient with respect to them at once.

    If the gradient waited for the backward pass, the loss would hold the similarities to the
    entire memory, and either a copy of the memory or the memory itself, which the step is about to
    write.
    """
    with torch.enable_grad():
        leaf = queries.detach().requires_grad_()
        loss = loss_of(leaf)
        (gradient,) = torch.autograd.grad(loss, leaf)
    return loss.detach() + ((queries - leaf.detach()) * gradient).sum()


def _similarities(queries: Tensor, memory: Tensor, temperature: float) -> Tensor:
    """Compute cosines over t, (R, C, M), without a normalised copy of the memory."""
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
