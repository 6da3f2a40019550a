"""What the network found in one photograph."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from PIL import Image

from rca.inference.decision import STRIP
from rca.presentation.overlays import draw_labels


class Found(NamedTuple):
    """A class that a photograph holds.

    Attributes:
        share: of the photograph's area, from 0 to 1.
        confidence: mean probability over the class's pixels.
    """

    share: float
    confidence: float


@dataclass(frozen=True)
class Result:
    """The mask of a photograph.

    Attributes:
        mask: uint8 (H, W), 0 background, i = class i; H × W is the photograph as viewers show it.
        confidence: float32 (H, W), the probability of the mask's label at each pixel.
        doubt: how little of the mask the network's probabilities bear out, from 0 to 1.
        names: the network's C classes, in label order.
        palette: uint8 (256, 3), label → colour.
        pixels: uint8 (h, w, 3), the photograph at the size it was worked on.
    """

    mask: np.ndarray
    confidence: np.ndarray
    doubt: float
    names: tuple[str, ...]
    palette: np.ndarray
    pixels: np.ndarray

    @cached_property
    def found(self) -> dict[str, Found]:
        """Share and confidence of every class in the mask, the largest first."""
        counts, sums = np.zeros((2, len(self.names) + 1))
        rows = max(STRIP // self.mask.shape[1], 1)  # bincount takes eight bytes a pixel, twice
        for top in range(0, len(self.mask), rows):
            strip = self.mask[top : top + rows].ravel()
            confidence = self.confidence[top : top + rows].ravel()
            counts += np.bincount(strip, minlength=len(counts))
            sums += np.bincount(strip, confidence, len(counts))
        labels = [label for label in np.argsort(-counts, kind="stable") if label and counts[label]]
        return {
            self.names[label - 1]: Found(
                float(counts[label] / self.mask.size), float(sums[label] / counts[label])
            )
            for label in labels
        }

    @property
    def classes(self) -> dict[str, float]:
        """The classes in the mask with their share of the area, the largest first."""
        return {name: found.share for name, found in self.found.items()}

    def overlay(self) -> Image.Image:
        """The mask over the photograph, at the size that was worked on."""
        return draw_labels(Image.fromarray(self.pixels), self.mask, self.palette)
