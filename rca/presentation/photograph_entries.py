"""Photographs on a page: what is embedded of each, and by what the script finds them."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from rca.presentation.embedded import Embedded, embed_labels, embed_photograph, embed_scores
from rca.presentation.gallery import PHOTOGRAPH, Gallery, Layer, stage_key
from rca.presentation.marks import MARK_PALETTE
from rca.presentation.overlays import fit
from rca.presentation.photograph_facts import confused
from rca.presentation.ranking import evenly
from rca.presentation.stage_layers import TRUTH
from rca.runtime.progress import progress

log = logging.getLogger(__name__)

SIDES = (500, 400, 320, 288, 256)  # pixels, of a photograph's longer side: the first that fits
BUDGET = 28e6  # bytes of all pictures together
SAMPLED = 24  # photographs from which the total of bytes is estimated


@dataclass(frozen=True)
class Shown:
    """The photographs of one split that are on a page.

    Attributes:
        split: its name.
        gallery: all of its images.
        images: the images on the page, in their order without a script.
        final: key of the layer that is compared with the truth.
        scored: whether that layer has scores.
        classes: class → its best, worst and most changed images, as `class_rows` has them.
        sorted_by: image → names and numbers that the script can sort by, besides the scores.
        notes: image → the text beside its name.
    """

    split: str
    gallery: Gallery
    images: Sequence[str]
    final: str
    scored: bool
    classes: Mapping[str, Sequence[Mapping[str, Any]]] = field(default_factory=dict)
    sorted_by: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    notes: Mapping[str, str] = field(default_factory=dict)


def group(shown: Shown, side: int, palette: np.ndarray) -> dict[str, Any]:
    """Prepare one split for the page's template.

    Args:
        shown: the split.
        side: the longer side of the photographs, in pixels.
        palette: uint8 (256, 3), label → colour on a screen.
    """
    many = progress(shown.images, len(shown.images), f"{shown.split} photographs drawn")
    return {
        "total": len(shown.gallery.tags),
        "entries": [entry(shown, image, side, palette) for image in many],
        "classes": shown.classes,
        "scored": shown.scored,
    }


def picture_side(groups: Iterable[Shown], palette: np.ndarray, limits: str) -> int:
    """Choose the longest side of `SIDES` with which all pictures together stay within `BUDGET`.

    The bytes are estimated from a few evenly spaced photographs. If not even the shortest side
    fits, a warning is logged.

    Args:
        groups: the splits.
        palette: uint8 (256, 3), label → colour on a screen.
        limits: the end of the warning, which names what the user can lower.
    """
    total = 0.0
    for side in SIDES:
        total = 0.0
        for shown in groups:
            some = evenly(shown.images, SAMPLED)
            size = sum(
                len(picture["uri"])
                for image in some
                for picture in entry(shown, image, side, palette)["pictures"]
            )
            total += size * len(shown.images) / max(len(some), 1)
        if total <= BUDGET:
            return side
    log.warning("the page will have about %d MB; %s", total / 1e6, limits)
    return SIDES[-1]


def entry(shown: Shown, image: str, side: int, palette: np.ndarray) -> dict[str, Any]:
    """Collect what the page holds of an image: name, tags, note, pictures, facts for the script.

    Args:
        shown: the split.
        image: the name of the image.
        side: the longer side of the photograph, in pixels.
        palette: uint8 (256, 3), label → colour on a screen.
    """
    gallery = shown.gallery
    whole = gallery.photo(image)
    side = min(side, max(whole.size))  # enlarging gains nothing
    photo = fit(whole, side, side)
    plain = Layer(PHOTOGRAPH, None, lambda _: None, lambda picture, _: picture)
    pictures = [_picture(plain, "photograph", None, photo.size, embed_photograph(photo))]
    labels: dict[str, np.ndarray] = {}
    for layer in gallery.layers:
        values = layer.read(image)
        if values is None:
            continue
        iou = gallery.scores.get(layer.product or "", {}).get(image)
        if layer.kind == "labels":
            labels[layer.stage] = values
        made = _embedded(layer, values, photo.size, palette)
        pictures.append(_picture(layer, layer.kind, iou, photo.size, made))
    truth, final = labels.get(stage_key(TRUTH)), labels.get(shown.final)
    return {
        "image": image,
        "tags": gallery.tags[image],
        "note": shown.notes[image],
        "sorted_by": shown.sorted_by[image],
        "pictures": pictures,
        "confused": confused(truth, final, f"{shown.final} of {image}"),
    }


def _embedded(
    layer: Layer, values: np.ndarray, size: tuple[int, int], palette: np.ndarray
) -> Embedded:
    if layer.kind == "scores":
        return embed_scores(values, size)
    return embed_labels(values, size, MARK_PALETTE if layer.kind == "marks" else palette)


def _picture(
    layer: Layer, kind: str, iou: float | None, size: tuple[int, int], made: Embedded
) -> dict[str, Any]:
    return {
        "title": layer.title,
        "stage": layer.stage,
        "kind": kind,
        "iou": iou,
        "width": size[0],
        "height": size[1],
        "uri": made.uri,
    }
