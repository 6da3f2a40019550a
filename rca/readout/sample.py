"""Features of sampled pixels on disk, to which the prototypes are fitted.

A file holds several images: for each, a float16 row of features per sampled pixel, in the order of
the grid, the positions of these pixels, and the size of the grid.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from rca.data.cam_store import holds
from rca.runtime.files import new_file


@dataclass(frozen=True)
class ImageSample:
    """The sampled pixels of one image.

    Attributes:
        features: The features of the pixels, float16 (n, D).
        places: The positions of the pixels in the grid, counted row by row, ascending, int32 (n,).
        grid: The height and width of the grid.
    """

    features: Tensor
    places: Tensor
    grid: tuple[int, int]

    @property
    def whole(self) -> bool:
        """Whether the sample holds every pixel of the grid."""
        return len(self.places) == self.grid[0] * self.grid[1]


def draw_pixels(grid: tuple[int, int], most: int, generator: torch.Generator) -> Tensor:
    """Draw at most `most` pixels of a grid without replacement, int32 (n,), ascending."""
    count = grid[0] * grid[1]
    if count <= most:
        return torch.arange(count, dtype=torch.int32)
    return torch.randperm(count, generator=generator)[:most].sort().values.int()


def write_sample(path: Path, samples: dict[str, ImageSample]) -> None:
    """Write the samples of several images to `path`, completely or not at all."""
    tensors = {}
    for image, sample in samples.items():
        tensors[f"{image}.features"] = sample.features.contiguous()
        tensors[f"{image}.places"] = sample.places
        tensors[f"{image}.grid"] = torch.tensor(sample.grid, dtype=torch.int32)
    with new_file(path) as partial:
        save_file(tensors, partial)


def is_sample(path: Path, images: Sequence[str]) -> bool:
    """Check whether `path` is a complete file of `write_sample`'s with exactly these images."""
    return holds(path, images, ("features", "places", "grid"))


def count_pixels(path: Path, images: Sequence[str]) -> int:
    """Count the sampled pixels of `images` in a file, without reading their features."""
    with safe_open(path, framework="pt") as file:
        return sum(file.get_slice(f"{image}.places").get_shape()[0] for image in images)


def read_sample(path: Path, images: Sequence[str]) -> list[ImageSample]:
    """Read the samples of `images` from a file, in the order of `images`."""
    samples = []
    with safe_open(path, framework="pt") as file:
        for image in images:
            height, width = file.get_tensor(f"{image}.grid").tolist()
            samples.append(
                ImageSample(
                    file.get_tensor(f"{image}.features"),
                    # A copy, since callers keep the places, and a view keeps the file mapped.
                    file.get_tensor(f"{image}.places").clone(),
                    (height, width),
                )
            )
    return samples
