"""What every model for photographs shares: `predict`, and what determines its masks."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, overload

import numpy as np
import torch
from PIL import Image

from rca.config import Crf
from rca.inference.decision import Scored, decide
from rca.inference.photographs import as_photograph
from rca.inference.result import Result

Photograph = Image.Image | np.ndarray | str | Path


@dataclass(frozen=True)
class PhotographModel(ABC):
    """A model that segments photographs.

    Attributes:
        classes: The C class names, without the background; label i is the i-th.
        palette: The colour of each label, uint8 (256, 3).
        device: The device that it computes on.
        files: The files that it was loaded from.
    """

    classes: tuple[str, ...]
    palette: np.ndarray
    device: torch.device
    files: tuple[Path, ...]

    @property
    @abstractmethod
    def refining(self) -> Crf | None:
        """The CRF that refines its masks, or None."""

    @abstractmethod
    def described(self) -> dict[str, Any]:
        """Return the settings that determine its masks, as JSON."""

    @abstractmethod
    def score(self, image: Image.Image) -> Scored:
        """Compute the probabilities of an upright RGB photograph, at the working size."""

    # A path as text is also a sequence of strings; it is taken for one photograph.
    @overload
    def predict(self, image: Photograph) -> Result: ...  # type: ignore[overload-overlap]

    @overload
    def predict(self, image: Sequence[Photograph]) -> list[Result]: ...

    def predict(self, image: Photograph | Sequence[Photograph]) -> Result | list[Result]:
        """Segment a photograph, or each of several.

        Args:
            image: A PIL image, an array uint8 (H, W, 3) in RGB, the path of a file, or a sequence
                of these. The orientation that a photograph's EXIF states is applied.

        Raises:
            DataError: A file cannot be read, or an image cannot be segmented.
        """
        if not isinstance(image, Photograph):
            return [self.predict(one) for one in image]
        scored = self.score(as_photograph(image))
        decision = decide(scored, self.refining)
        return Result(*decision, self.classes, self.palette, scored.pixels)
