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
    """A class that was found in a photograph.

    Attributes:
        share: The share of the photograph's area, from 0 to 1.
        confidence: The mean probability over the class's pixels.
    """

    share: float
    confidence: float


@dataclass(frozen=True)
class Result:
    """The mask of a photograph, with its confidence and doubt.

    Attributes:
        mask: The mask, uint8 (H, W): 0 background, i = class i. H × W is the size of the photograph
            as viewers show it.
        confidence: The probability of the mask's label at each pixel, float32 (H, W).
        doubt: The doubt, from 0 to 1: how little the network's probabilities support the mask.
        names: The network's C classes, in label order.
        palette: The colour of each label, uint8 (256, 3).
        pixels: The photograph at the size it was processed at, uint8 (h, w, 3).
    """

    mask: np.ndarray
    confidence: np.ndarray
    doubt: float
    names: tuple[str, ...]
    palette: np.ndarray
    pixels: np.ndarray

    @cached_property
    def found(self) -> dict[str, Found]:
        """The share and confidence of every class in the mask, the largest first."""
        counts, sums = np.zeros((2, len(self.names) + 1))
        rows = max(STRIP // self.mask.shape[1], 1)  # bincount takes eight bytes per pixel, twice
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
        """The classes in the mask with their shares of the area, the largest first."""
        return {name: found.share for name, found in self.found.items()}

    def overlay(self) -> Image.Image:
        """Draw the mask over the photograph, at the size it was processed at."""
        return draw_labels(Image.fromarray(self.pixels), self.mask, self.palette)
