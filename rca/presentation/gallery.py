"""Galleries: images side by side with what each stage made of them."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from PIL import Image

from rca.presentation.embedded import data_uri
from rca.presentation.overlays import fit

SIDE = 320  # pixels, of the longer side of a picture drawn over its photograph
PHOTOGRAPH = "Photograph"


def stage_key(title: str) -> str:
    """Turn a title into a word for HTML attributes, such as `trained-on-truth`."""
    return re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")


@dataclass(frozen=True)
class Layer:
    """A column of a gallery.

    Attributes:
        title: its heading.
        product: name of the product that it shows, if that has an IoU.
        read: image → label map or scores, (H, W), or None where there is nothing to show.
        draw: (photograph as shown, what was read) → picture.
        threshold: the score at which a line is drawn; None for label maps.
        kind: what `read` returns: label maps, scores, or places marked with small numbers.
        key: its name as a word for HTML attributes; by default, its title as such a word.
    """

    title: str
    product: str | None
    read: Callable[[str], np.ndarray | None]
    draw: Callable[[Image.Image, np.ndarray], Image.Image]
    threshold: float | None = None
    kind: Literal["labels", "scores", "marks"] = "labels"
    key: str = ""

    @property
    def stage(self) -> str:
        """The name by which the page's script knows the layer."""
        return self.key or stage_key(self.title)


@dataclass(frozen=True)
class Gallery:
    """The images of a split and what is shown of each.

    Attributes:
        tags: image → the classes it holds, in the order of the index.
        photo: image → its photograph.
        layers: what is shown beside the photograph, from left to right.
        scores: product → image → IoU in percent.
        doubts: image → doubt of its mask, from 0 to 1.
    """

    tags: Mapping[str, Sequence[str]]
    photo: Callable[[str], Image.Image]
    layers: Sequence[Layer]
    scores: Mapping[str, Mapping[str, float]]
    doubts: Mapping[str, float] = field(default_factory=dict)

    def pictures(
        self, image: str, width: int, height: int
    ) -> list[tuple[str, str | None, Image.Image]]:
        """Return title, product and picture of photograph and layers, within width × height."""
        photo = fit(self.photo(image), width, height)
        shown: list[tuple[str, str | None, Image.Image]] = [(PHOTOGRAPH, None, photo)]
        for layer in self.layers:
            values = layer.read(image)
            if values is not None:
                shown.append((layer.title, layer.product, layer.draw(photo, values)))
        return shown

    def panel(self, image: str, side: int | None = None) -> dict[str, Any]:
        """Prepare what a page shows of `image`: name, tags, and pictures with their IoU if known.

        Args:
            image: the name of the image.
            side: the longer side of the pictures in pixels; None stands for `SIDE`.
        """
        side = side or SIDE
        pictures = [
            {
                "title": title,
                "iou": self.scores.get(product or "", {}).get(image),
                "width": picture.width,
                "height": picture.height,
                "uri": data_uri(picture),
            }
            for title, product, picture in self.pictures(image, side, side)
        ]
        return {"image": image, "tags": self.tags[image], "pictures": pictures}
