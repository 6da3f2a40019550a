"""The agreement of an exported file with the network itself, checked on photographs."""

from __future__ import annotations

import io
import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from rca.config import ConfigError
from rca.data.images import open_image
from rca.data.views import normalised
from rca.export.program import Precision
from rca.inference.onnx_network import SMALLEST
from rca.models.deeplab import DeepLab
from rca.sources.unpacking import contents

log = logging.getLogger(__name__)

SUFFIXES = (".jpg", ".jpeg", ".png")
COUNT = 8
LONGEST = 512  # pixels; larger photographs are scaled down, so that the check is quick


@dataclass(frozen=True)
class Tolerance:
    """How far an exported network may differ from the original and still pass.

    Attributes:
        logits: The largest difference of a logit, as a share of the largest logit if that is above
            1; None if logits are not compared.
        probabilities: The largest absolute difference of a class's probability.
        labels: The smallest share of pixels that get the same label.
    """

    logits: float | None
    probabilities: float
    labels: float


# Half precision has 11 significant bits: a single rounding can move a logit of 8 by 0.004.
TOLERANCES: dict[Precision, Tolerance] = {
    "float32": Tolerance(logits=1e-4, probabilities=1e-4, labels=0.999),
    "float16": Tolerance(logits=None, probabilities=0.03, labels=0.99),
}


@dataclass(frozen=True)
class Agreement:
    """The result of a comparison: the worst of all photographs, in the terms of `Tolerance`."""

    photographs: int
    logits: float
    probabilities: float
    labels: float

    def __str__(self) -> str:
        return (
            f"on {self.photographs} photographs logits differ by at most {self.logits:.1e}, "
            f"probabilities by {self.probabilities:.1e}, and {self.labels:.3%} of the pixels of "
            "the worst batch have the same label"
        )


def read_photographs(place: Path, count: int = COUNT) -> list[Tensor]:
    """Read the first photographs of a folder or of an archive.

    Args:
        place: A folder, or a tar or zip archive.
        count: The maximum number of photographs.

    Returns:
        The normalised images, (3, H, W) each, of their own sizes.

    Raises:
        ConfigError: There is no such place, or no photograph of a usable size in it.
        DataError: The archive or a photograph is damaged.
    """
    if not place.exists():
        raise ConfigError(
            f"{place}: no such folder or archive; name photographs to check the exported network "
            "on: --photographs FOLDER"
        )
    images = _from_folder(place) if place.is_dir() else _from_archive(place)
    found = [normalised(image) for image in islice(_usable(images), count)]
    if not found:
        raise ConfigError(
            f"{place}: holds no colour photograph ({', '.join(SUFFIXES)}) of at least "
            f"{SMALLEST} × {SMALLEST} pixels to check the exported network on"
        )
    return found


def compare(
    network: DeepLab, exported: Callable[[Tensor], Tensor], photographs: Sequence[Tensor]
) -> Agreement:
    """Run both on each photograph alone, and on a batch of all, cropped to the smallest size.

    Raises:
        ConfigError: The exported network's logits have another shape.
    """
    height, width = (min(image.shape[side] for image in photographs) for side in (1, 2))
    together = torch.stack([image[:, :height, :width] for image in photographs])
    worst = Agreement(len(photographs), 0.0, 0.0, 1.0)
    with torch.inference_mode():
        for images in (*(image[None] for image in photographs), together):
            expected, got = network(images), exported(images)
            if got.shape != expected.shape:
                raise ConfigError(
                    f"the exported network gives {tuple(got.shape)} for {tuple(images.shape)}, "
                    f"not {tuple(expected.shape)}; please report this"
                )
            chance, other = expected.softmax(1), got.softmax(1)
            same = (expected.argmax(1) == got.argmax(1)).double().mean().item()
            worst = Agreement(
                worst.photographs,
                max(worst.logits, _distance(expected, got) / max(expected.abs().max().item(), 1)),
                max(worst.probabilities, _distance(chance, other)),
                min(worst.labels, same),
            )
    return worst


def require(agreement: Agreement, precision: Precision, what: str) -> None:
    """Refuse an exported network that differs too much from the original.

    Raises:
        ConfigError: The two differ by more than `TOLERANCES` allow.
    """
    allowed = TOLERANCES[precision]
    holds = (
        (allowed.logits is None or agreement.logits <= allowed.logits)
        and agreement.probabilities <= allowed.probabilities
        and agreement.labels >= allowed.labels
    )
    if not holds:
        raise ConfigError(
            f"{what} does not compute what the network computes, and was not kept: {agreement}; "
            f"allowed in {precision}: {allowed}"
        )
    log.info("%s agrees with PyTorch: %s", what, agreement)


def _distance(first: Tensor, second: Tensor) -> float:
    """Return the largest absolute difference; infinite if one is not a number."""
    return (first - second).abs().nan_to_num(nan=torch.inf, posinf=torch.inf).max().item()


def _usable(images: Iterable[Image.Image]) -> Iterator[Image.Image]:
    """Yield the photographs among images; masks and saliency maps are palette or grey."""
    for image in images:
        if image.mode == "RGB":
            image.thumbnail((LONGEST, LONGEST))
            if min(image.size) >= SMALLEST:
                yield image


def _from_folder(folder: Path) -> Iterator[Image.Image]:
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() in SUFFIXES:
            yield open_image(path)


def _from_archive(archive: Path) -> Iterator[Image.Image]:
    def wanted(name: str) -> bool:
        return name.lower().endswith(SUFFIXES)

    for _, content in contents(archive, wanted):
        yield Image.open(io.BytesIO(content))
