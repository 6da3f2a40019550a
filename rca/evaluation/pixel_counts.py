"""What is kept of a product while its images go by: integers, so that any order gives the same."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from rca.evaluation.boundary import boundary_counts
from rca.evaluation.confusion import Policy, confusion_matrix, errors, ratio


@dataclass(frozen=True)
class Rules:
    """How pixels are counted.

    Attributes:
        classes: C, without the background.
        policy: for predicted 255.
        boundary: width of the boundary as a share of the image's diagonal.
    """

    classes: int
    policy: Policy
    boundary: float


@dataclass
class Counts:
    """Pixel counts of some images; those of others are merged by adding them.

    Attributes:
        matrix: int64 (C + 1, C + 2), the confusion matrix.
        boundary: int64 (C + 1, 3), from `boundary_counts`.
        images: name → int64 (3, C + 1), its true positives, false positives, false negatives.
    """

    matrix: np.ndarray
    boundary: np.ndarray
    images: dict[str, np.ndarray] = field(default_factory=dict)

    @classmethod
    def none(cls, classes: int) -> Counts:
        """Before the first image."""
        return cls(
            np.zeros((classes + 1, classes + 2), np.int64), np.zeros((classes + 1, 3), np.int64)
        )

    def add(self, image: str, truth: np.ndarray, prediction: np.ndarray, rules: Rules) -> None:
        """Count one image.

        Args:
            image: its name.
            truth: uint8 (H, W), 0 … C or 255.
            prediction: likewise.
            rules: how to count.

        Raises:
            ValueError: the two do not fit, or hold other values.
        """
        matrix = confusion_matrix(truth, prediction, rules.classes)
        self.matrix += matrix
        self.boundary += boundary_counts(
            truth, prediction, rules.classes, rules.policy, rules.boundary
        )
        self.images[image] = np.stack(errors(matrix, rules.policy))

    def merge(self, other: Counts) -> None:
        """Count the images of `other` as well."""
        self.matrix += other.matrix
        self.boundary += other.boundary
        self.images |= other.images

    def errors(self) -> np.ndarray:
        """True positives, false positives and false negatives of each image, (N, 3, C + 1)."""
        empty = np.zeros((0, 3, len(self.matrix)), np.int64)
        return np.stack(list(self.images.values())) if self.images else empty

    def image_ious(self) -> dict[str, np.ndarray]:
        """IoU of each class in each image, (C + 1,); nan where it is in neither map."""
        return {
            image: ratio(counts[0], counts.sum(axis=0)) for image, counts in self.images.items()
        }
