"""Which images are worth showing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain, zip_longest


def best_and_worst(scores: Mapping[str, float], count: int) -> tuple[list[str], list[str]]:
    """Select half of `count` images from each end, each from its extreme on; no image twice.

    Args:
        scores: image → score, the higher the better; ties keep their order.
        count: images in all; the best get the odd one.
    """
    ranked = _ranked(scores)
    count = min(count, len(ranked))
    worst = ranked[len(ranked) - count // 2 :]
    return ranked[: count - count // 2], worst[::-1]


def extremes(
    before: Mapping[str, float], after: Mapping[str, float], count: int
) -> dict[str, list[str]]:
    """Return image → what it stands for: `best`, `worst`, `most changed`; in this order.

    Args:
        before: image → score of an earlier product.
        after: image → score of the product that is shown; the best and the worst are by this.
        count: images for each, as far as there are so many; those that did not change are none.
    """
    best, worst = best_and_worst(after, 2 * count)
    changed = most_changed(before, after, count)
    roles: dict[str, list[str]] = {}
    for role, images in (("best", best), ("worst", worst), ("most changed", changed)):
        for image in images:
            roles.setdefault(image, []).append(role)
    return roles


def most_changed(before: Mapping[str, float], after: Mapping[str, float], count: int) -> list[str]:
    """Select at most `count` images whose score moved most, up or down, the farthest first."""
    moved = {image: abs(after[image] - before[image]) for image in after if image in before}
    return [image for image in _ranked(moved) if moved[image]][:count]


def evenly(images: Sequence[str], count: int) -> list[str]:
    """Select at most `count` evenly spaced images, if there is no score."""
    count = min(count, len(images))
    return [images[place * len(images) // count] for place in range(count)]


def spread(
    scores: Mapping[str, float],
    tags: Mapping[str, Sequence[str]],
    classes: Sequence[str],
    count: int,
) -> list[str]:
    """Select at most `count` images of the better half, the classes taking turns.

    A class starts with its median image within that half, and not with its best, so that the
    choice shows what is common there.

    Args:
        scores: image → score.
        tags: image → the classes it holds.
        classes: the order of the turns.
        count: images in all.
    """
    better = _ranked(scores)[: (len(scores) + 1) // 2]
    queues = [
        _from_the_middle([image for image in better if name in tags[image]]) for name in classes
    ]
    turns = chain.from_iterable(zip_longest(*queues))
    return list(dict.fromkeys(image for image in turns if image is not None))[:count]


def _ranked(scores: Mapping[str, float]) -> list[str]:
    return sorted(scores, key=lambda image: -scores[image])


def _from_the_middle(images: Sequence[str]) -> list[str]:
    middle = (len(images) - 1) / 2
    order = sorted(range(len(images)), key=lambda place: abs(place - middle))
    return [images[place] for place in order]
