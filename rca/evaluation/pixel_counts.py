"""The counts kept for a product, image by image: integers, so the order makes no difference."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from rca.evaluation.boundary import boundary_counts
from rca.evaluation.confusion import Policy, confusion_matrix, errors, ratio


@dataclass(frozen=True)
class Rules:
    """The rules of counting pixels.

    Attributes:
        classes: C, the number of classes without the background.
        policy: The treatment of a predicted 255.
        boundary: The width of the boundary as a share of the image's diagonal.
    """

    classes: int
    policy: Policy
    boundary: float


@dataclass
class Counts:
    """Pixel counts of some images, which are merged with those of others by adding them.

    Attributes:
        matrix: The confusion matrix, int64 (C + 1, C + 2).
        boundary: The counts from `boundary_counts`, int64 (C + 1, 3).
        images: Name → the image's true positives, false positives and false negatives, int64
            (3, C + 1).
    """

    matrix: np.ndarray
    boundary: np.ndarray
    images: dict[str, np.ndarray] = field(default_factory=dict)

    @classmethod
    def none(cls, classes: int) -> Counts:
        """Create the counts before the first image."""
        return cls(
            np.zeros((classes + 1, classes + 2), np.int64), np.zeros((classes + 1, 3), np.int64)
        )

    def add(self, image: str, truth: np.ndarray, prediction: np.ndarray, rules: Rules) -> None:
        """Count one image.

        Args:
            image: The name of the image.
            truth: The true labels, uint8 (H, W), 0 … C or 255.
            prediction: The predicted labels, in the same form.
            rules: The rules of counting.

        Raises:
            ValueError: The two differ in size, or hold other values.
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
        """Stack each image's true positives, false positives, false negatives, (N, 3, C + 1)."""
        empty = np.zeros((0, 3, len(self.matrix)), np.int64)
        return np.stack(list(self.images.values())) if self.images else empty

    def image_ious(self) -> dict[str, np.ndarray]:
        """Compute the IoU of each class in each image, (C + 1,); nan where it is in neither map."""
        return {
            image: ratio(counts[0], counts.sum(axis=0)) for image, counts in self.images.items()
        }
