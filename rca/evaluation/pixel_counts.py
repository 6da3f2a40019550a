"""The counts kept for a product, image by image: integers, so the order makes no difference."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

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


class ImageErrors(NamedTuple):
    """The errors of one image, for the K labels in its truth or prediction.

    There may be a hundred thousand images and a hundred classes, of which an image holds few.

    Attributes:
        labels: The labels, uint8 (K,).
        counts: Their true positives, false positives and false negatives, uint32 (3, K).
    """

    labels: np.ndarray
    counts: np.ndarray


@dataclass
class Counts:
    """Pixel counts of some images, which are merged with those of others by adding them.

    Attributes:
        matrix: The confusion matrix, int64 (C + 1, C + 2).
        boundary: The counts from `boundary_counts`, int64 (C + 1, 3).
        images: Name → the image's errors.
    """

    matrix: np.ndarray
    boundary: np.ndarray
    images: dict[str, ImageErrors] = field(default_factory=dict)

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
        found = np.stack(errors(matrix, rules.policy))
        labels = np.flatnonzero(found.any(axis=0))
        self.images[image] = ImageErrors(
            labels.astype(np.uint8), found[:, labels].astype(np.uint32)
        )

    def merge(self, other: Counts) -> None:
        """Count the images of `other` as well."""
        self.matrix += other.matrix
        self.boundary += other.boundary
        self.images |= other.images

    def errors(self) -> np.ndarray:
        """Stack each image's true positives, false positives, false negatives, (N, 3, C + 1)."""
        stacked = np.zeros((len(self.images), 3, len(self.matrix)), np.int64)
        for number, image in enumerate(self.images.values()):
            stacked[number][:, image.labels] = image.counts
        return stacked

    def image_ious(self) -> dict[str, np.ndarray]:
        """Compute the IoU of each class in each image, (C + 1,); nan where it is in neither map."""
        found = {}
        for name, image in self.images.items():
            found[name] = np.full(len(self.matrix), np.nan)
            found[name][image.labels] = ratio(image.counts[0], image.counts.sum(axis=0))
        return found
