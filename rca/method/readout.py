"""Maps read from prototypes, including the background's: beyond the paper.

RSA's affinity S (Eq. 7, scale `cosine`), summed over the prototypes of a class, says how well the
class explains a pixel. The paper has prototypes of classes alone, so some class must explain every
pixel. With prototypes of the background too, S becomes the posterior of a mixture of von
Mises-Fisher distributions on the unit sphere, and a mask can be read from it without a threshold.

The prototypes are fitted to image tags and class activation maps (CAMs) in rounds. Regions, taken
from the CAMs at first and from the posterior later, give mean directions, and these give the next
posterior. This is hard EM on the confident pixels.

Shapes: N pixels of I images, D channels, C classes, L = C + 1 labels with the background first, at
most K prototypes per label.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from rca.method.numerics import full_precision, unit
from rca.method.prototypes import spherical_kmeans

UNSURE = -1  # label of a pixel that belongs to no region
TOGETHER = 2**21  # similarities of pixels and prototypes that are computed at a time


@dataclass(frozen=True)
class ReadoutSettings:
    """Settings for fitting and reading prototypes.

    Attributes:
        prototypes: K of each class in the last round; before it, K is 1.
        background_prototypes: K of the background.
        temperature: t, the inverse concentration of the mixture.
        background_weight: w_0, the prior odds of the background against one class.
        rounds: The number of times that the prototypes are fitted.
        cam_foreground: The level of the CAM above which the first round takes a pixel for its
            class.
        cam_background: The level of the CAM below which the first round takes a pixel for
            background.
        level: The posterior above which a later round takes a pixel.
        restarts: The number of runs of each k-means.
        sample: The largest number of a label's pixels that a k-means takes.
    """

    prototypes: int
    background_prototypes: int
    temperature: float
    background_weight: float
    rounds: int
    cam_foreground: float
    cam_background: float
    level: float
    restarts: int
    sample: int


@dataclass(frozen=True)
class Pixels:
    """Sampled pixels of I images.

    Attributes:
        directions: x, the directions, (N, D), of length 1. Half precision suffices.
        cams: The CAMs, (N, C), from 0 to 1; 0 for absent classes.
        image: The number of each pixel's image, int64 (N,).
        tags: The image tags, bool (I, C).
        foreground: The prior probability of being foreground, (N,), strictly between 0 and 1. None
            if nothing is known.
    """

    directions: Tensor
    cams: Tensor
    image: Tensor
    tags: Tensor
    foreground: Tensor | None = None


@full_precision
def pixel_directions(features: Tensor, means: Tensor, widths: Sequence[int]) -> Tensor:
    """Compute x, to compare with prototypes: centred features of several blocks as one direction.

    Each block is centred and scaled to length 1, so that all have equal weight; the concatenation
    is scaled to length 1 too. Without centring, features after a ReLU all point the same way.

    Args:
        features: The features of all blocks in a row, (..., D).
        means: The mean feature over the data set, (D,).
        widths: The number of channels of each block; their sum is D.

    Returns:
        The directions, (..., D), of length 1.
    """
    blocks = (features.float() - means).split(list(widths), dim=-1)
    return unit(torch.cat([unit(block) for block in blocks], dim=-1))


@full_precision
def label_posterior(
    directions: Tensor,
    prototypes: Tensor,
    valid: Tensor,
    tags: Tensor,
    temperature: float,
    background_weight: float,
    foreground: Tensor | None = None,
) -> Tensor:
    """Compute p(l | x), the posterior of the background and of each tagged class at every pixel.

    p(l | x) ∝ w_l · mean_k exp(x · q_lk / t). The numerator with w_l = K_l is Eq. 7's S with the
    scale `cosine`, summed over a label's prototypes. The mean makes it independent of how many
    prototypes a label has.

    Args:
        directions: x, the directions, (..., D), of length 1.
        prototypes: Q, the prototypes, (L, K, D), of length 1, those of the background first.
        valid: Which prototypes are valid, bool (L, K). A label without any has posterior 0.
        tags: The classes that the image may hold, (..., C). The background always takes part.
        temperature: t, the inverse concentration of the mixture (RSA's and RSC's: 0.07).
        background_weight: w_0, the prior odds of the background against one class; w_l = 1 for
            classes.
        foreground: s, a pixel's own prior probability of being foreground, (...), strictly between
            0 and 1, such as a saliency map's. w_l is multiplied by s, and w_0 by 1 - s.

    Returns:
        The posterior, (..., L), whose sum over labels is 1. Where no label takes part, all is
        background.
    """
    labels, count, _ = prototypes.shape
    similarity = directions @ prototypes.flatten(0, 1).T / temperature  # (..., L·K)
    similarity = similarity.unflatten(-1, (labels, count)).masked_fill(~valid, -torch.inf)
    present = torch.cat([torch.ones_like(tags[..., :1]), tags], dim=-1).bool() & valid.any(dim=1)
    weight = prototypes.new_ones(labels)
    weight[0] = background_weight
    prior = (weight / valid.sum(dim=1).clamp_min(1)).log()  # (L,)
    logits = similarity.logsumexp(dim=-1) + prior
    if foreground is not None:
        logits[..., 0] += torch.log1p(-foreground)
        logits[..., 1:] += foreground.log()[..., None]
    logits = logits.masked_fill(~present, -torch.inf)
    nothing = ~present.any(dim=-1, keepdim=True).expand_as(logits)
    logits = torch.where(nothing, torch.eye(labels, device=logits.device)[0].log(), logits)
    return logits.softmax(dim=-1)


@torch.no_grad()
def cam_regions(
    cams: Tensor, tags: Tensor, image: Tensor, foreground: float, background: float
) -> Tensor:
    """Label each pixel whose CAMs leave no doubt, for the regions of the first round.

    A pixel belongs to the class with the highest CAM if that is above `foreground`, and to the
    background if all CAMs are below `background`. A class without a confident pixel gets the
    highest pixel of each of its images instead; a background without one gets the lowest pixel of
    each image. Among equal pixels the first is taken, but never one that another label got in this
    way. So no label starts empty even where CAMs are zero, if the images have enough pixels.

    Args:
        cams: The CAMs of the pixels, (N, C), from 0 to 1; 0 for absent classes.
        tags: The image tags, bool (I, C).
        image: The number of each pixel's image, int64 (N,).
        foreground: The level of the classes.
        background: The level of the background.

    Returns:
        The labels, int64 (N,): 0 background, 1 … C classes, `UNSURE`.
    """
    highest, best = cams.max(dim=1)
    regions = torch.full_like(image, UNSURE)
    regions[highest < background] = 0
    sure = highest > foreground
    regions[sure] = best[sure] + 1
    given = torch.zeros_like(sure)  # to labels without a confident pixel
    for label in [*range(1, cams.shape[1] + 1), 0]:
        if not (regions == label).any():
            values = cams[:, label - 1] if label else -highest
            peaks = _peaks(values.masked_fill(given, -torch.inf), image, len(tags))
            peaks &= ~given
            if label:
                peaks &= tags[image, label - 1].bool()
            regions[peaks] = label
            given |= peaks
    return regions


def _peaks(values: Tensor, image: Tensor, images: int) -> Tensor:
    """Mark the first pixel of each image with the highest of `values`, (N,), as bool (N,)."""
    lowest = values.new_full((images,), -torch.inf)
    highest = lowest.scatter_reduce(0, image, values, "amax")
    order = torch.arange(len(values), device=image.device)
    order = order.masked_fill(values < highest[image], len(values))
    first = order.new_full((images,), len(values))
    return order == first.scatter_reduce(0, image, order, "amin")[image]


@torch.no_grad()
def posterior_regions(posterior: Tensor, level: float) -> Tensor:
    """Label each pixel with a confident posterior, for the regions of the next round.

    Args:
        posterior: The posterior, (N, L).
        level: The level above which the posterior of a label makes a pixel belong to it.

    Returns:
        The labels, int64 (N,), `UNSURE` elsewhere.
    """
    highest, label = posterior.max(dim=1)
    return label.masked_fill(highest <= level, UNSURE)


@torch.no_grad()
def fit_label_prototypes(
    directions: Tensor,
    regions: Tensor,
    counts: Sequence[int],
    generator: torch.Generator,
    previous: tuple[Tensor, Tensor] | None,
    sample: int,
    restarts: int,
) -> tuple[Tensor, Tensor]:
    """Compute mean directions of each label's region, by spherical k-means.

    A label without a single pixel keeps the prototypes of the round before. On the pixels drawn,
    the result is never worse than the prototypes of the round before, if these were K or one.

    Args:
        directions: x, the directions, (N, D), of length 1. Half precision suffices.
        regions: The label of each pixel, int64 (N,), from 0 to L - 1, or `UNSURE`.
        counts: K of each label, L of them. A region with fewer pixels gets fewer prototypes.
        generator: The generator of the sample and of the seeds.
        previous: The prototypes and their validity from the round before, or None.
        sample: The largest number of a label's pixels that is taken, drawn at random.
        restarts: The number of runs of each k-means.

    Returns:
        The prototypes, float32 (L, K, D) with K the largest count, and their validity, bool (L, K).
    """
    shape = (len(counts), max(counts), directions.shape[1])
    prototypes = torch.zeros(shape, device=directions.device)
    valid = torch.zeros(shape[:2], dtype=torch.bool, device=directions.device)
    for label, count in enumerate(counts):
        pixels = (regions == label).nonzero()[:, 0]
        before = previous[0][label][previous[1][label]] if previous else None
        if len(pixels):
            if len(pixels) > sample:
                order = torch.randperm(len(pixels), generator=generator, device=generator.device)
                pixels = pixels[order[:sample].to(pixels.device)]
            points = unit(directions[pixels].float())
            found = spherical_kmeans(points, count, generator, before, restarts)
        elif before is not None:
            found = before
        else:
            continue
        prototypes[label, : len(found)] = found
        valid[label, : len(found)] = True
    return prototypes, valid


def read_regions(
    pixels: Pixels, prototypes: Tensor, valid: Tensor, settings: ReadoutSettings
) -> Tensor:
    """Label the pixels with a confident posterior, int64 (N,), computing some pixels at a time.

    Args:
        pixels: The pixels, N of them.
        prototypes: Q, the prototypes, (L, K, D).
        valid: Which prototypes are valid, bool (L, K).
        settings: The settings for reading.
    """
    regions = []
    for part in _parts(len(pixels.image), TOGETHER // valid.numel()):
        posterior = label_posterior(
            pixels.directions[part].float(),
            prototypes,
            valid,
            pixels.tags[pixels.image[part]],
            settings.temperature,
            settings.background_weight,
            None if pixels.foreground is None else pixels.foreground[part].float(),
        )
        regions.append(posterior_regions(posterior, settings.level))
    return torch.cat(regions)


def first_regions(
    pixels: Pixels, settings: ReadoutSettings, start: tuple[Tensor, Tensor] | None = None
) -> Tensor:
    """Label the pixels for the first round, int64 (N,), by prototypes if given, else by the CAMs.

    A label that these prototypes find nowhere gets its region of the CAMs, except where another
    label claims it.

    Args:
        pixels: The pixels of the training images.
        settings: The levels, and the settings for reading the prototypes.
        start: The prototypes Q, (L, K, D), of length 1, and their validity, bool (L, K).
    """
    of_cams = cam_regions(
        pixels.cams, pixels.tags, pixels.image, settings.cam_foreground, settings.cam_background
    )
    if start is None:
        return of_cams
    regions = read_regions(pixels, *start, settings)
    lost = ~torch.isin(of_cams, regions) & (regions == UNSURE)
    return torch.where(lost, of_cams, regions)


def fit_readout(
    pixels: Pixels,
    settings: ReadoutSettings,
    generator: torch.Generator,
    start: tuple[Tensor, Tensor] | None = None,
) -> tuple[Tensor, Tensor]:
    """Fit the prototypes of the background and of all classes, in rounds.

    The CAMs' regions are impure: they reach into the background. A single mean direction per class
    averages that away, whereas several would give the impurity a prototype of its own. So a class
    has one until the last round, whose regions are clean enough for K.

    Args:
        pixels: The pixels of the training images.
        settings: The settings for fitting.
        generator: The generator of all random choices.
        start: The prototypes to start from, as in `first_regions`.

    Returns:
        The prototypes, float32 (L, K, D), and their validity, bool (L, K). A class that no image is
        tagged with has none.
    """
    classes = pixels.tags.shape[1]
    regions = first_regions(pixels, settings, start)
    fitted: tuple[Tensor, Tensor] | None = None
    for number in range(1, settings.rounds + 1):
        of_class = settings.prototypes if number == settings.rounds else 1
        counts = [settings.background_prototypes, *[of_class] * classes]
        fitted = fit_label_prototypes(
            pixels.directions,
            regions,
            counts,
            generator,
            fitted,
            settings.sample,
            settings.restarts,
        )
        if number < settings.rounds:
            regions = read_regions(pixels, *fitted, settings)
    assert fitted is not None  # there is at least one round
    return fitted


@torch.no_grad()
def nearest_pixels(
    pixels: Pixels, prototypes: Tensor, valid: Tensor, count: int
) -> dict[tuple[int, int], list[tuple[int, float]]]:
    """Find the pixels most similar to each prototype, one per image, to show what it stands for.

    Args:
        pixels: The pixels, N of them.
        prototypes: Q, the prototypes, (L, K, D).
        valid: Which prototypes are valid, bool (L, K).
        count: The number of images for each prototype. For a class, only images tagged with it.

    Returns:
        (label, number of the prototype) → numbers of pixels and cosine similarities, the most
        similar first.
    """
    flat = prototypes[valid]  # (Q, D)
    similarity = flat.new_full((len(pixels.tags), len(flat)), -torch.inf)
    place = torch.zeros(similarity.shape, dtype=torch.long)
    grouped = pixels.image.argsort(stable=True)
    sizes = pixels.image.bincount(minlength=len(pixels.tags)).tolist()
    for image, own in enumerate(grouped.split(sizes)):
        if len(own):
            similarity[image], best = (pixels.directions[own].float() @ flat.T).max(dim=0)
            place[image] = own[best]
    nearest = {}
    for number, (label, k) in enumerate(valid.nonzero().tolist()):
        column = similarity[:, number]
        if label:
            column = column.masked_fill(~pixels.tags[:, label - 1], -torch.inf)
        order = column.argsort(descending=True, stable=True)[:count].tolist()
        nearest[label, k] = [
            (int(place[image, number]), round(float(column[image]), 4))
            for image in order
            if column[image] > -torch.inf
        ]
    return nearest


def _parts(length: int, size: int) -> Iterator[slice]:
    for start in range(0, length, max(size, 1)):
        yield slice(start, start + max(size, 1))
