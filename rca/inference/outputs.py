"""The output files of one photograph.

Worker processes import this module, so it does without torch.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from rca.config import ConfigError, Crf
from rca.data.images import is_label_map, write_label_map
from rca.inference.decision import Scored, decide
from rca.inference.result import Result
from rca.runtime.files import new_file

QUALITY = 90  # of the overlays' JPEG
MASKS, OVERLAYS, CONFIDENCE = "masks", "overlays", "confidence"


@dataclass(frozen=True)
class Stamp:
    """The identity of a segmented file: its path, size in bytes and modification time."""

    path: str
    size: int
    time: int


class Failure(NamedTuple):
    """A photograph that cannot be segmented, and why."""

    reason: str


@dataclass(frozen=True)
class Work:
    """A photograph whose files are to be written.

    Attributes:
        name: The name in the output.
        stamp: The stamp of the file, from before it was read.
        scored: The pixels and the probabilities.
        seconds: The time that it took so far, in seconds.
    """

    name: str
    stamp: Stamp
    scored: Scored
    seconds: float


@dataclass(frozen=True)
class Row:
    """The record of a photograph, which is kept beside its files.

    Attributes:
        name: The name in the output.
        stamp: The stamp of the file.
        width: The width of the mask.
        height: The height of the mask.
        found: The share of the area and the mean confidence of each class, by name, the largest
            first.
        confidence: The mean confidence of all pixels.
        doubt: The doubt of the mask, from 0 to 1.
        seconds: The time that it took, in seconds.
    """

    name: str
    stamp: Stamp
    width: int
    height: int
    found: dict[str, tuple[float, float]]
    confidence: float
    doubt: float
    seconds: float


@dataclass(frozen=True)
class Writer:
    """The output folder, and the files that each photograph gets there.

    Attributes:
        out: The output folder; nothing is written outside it.
        classes: The C class names, in label order.
        palette: The colour of each label, uint8 (256, 3).
        crf: The CRF, or None.
        overlays: Whether to draw the masks over the photographs, too.
        confidence: Whether to write each pixel's confidence, too.
    """

    out: Path
    classes: tuple[str, ...]
    palette: np.ndarray
    crf: Crf | None
    overlays: bool = False
    confidence: bool = False

    def mask(self, name: str) -> Path:
        """Return the path of a photograph's mask."""
        return self.out / MASKS / f"{name}.png"

    def files(self, name: str) -> list[Path]:
        """Return the paths of all files of a photograph."""
        files = [self.mask(name)]
        if self.overlays:
            files.append(self.out / OVERLAYS / f"{name}.jpg")
        if self.confidence:
            files.append(self.out / CONFIDENCE / f"{name}.png")
        return files

    def wrote(self, row: Row) -> bool:
        """Return whether all files of the photograph are there, and its mask is complete."""
        mask, *others = self.files(row.name)
        return is_label_map(mask, row.height, row.width) and all(map(Path.is_file, others))


def finish(work: Work | Failure, writer: Writer) -> Row | Failure:
    """Decide on the mask and write the photograph's files; return a failure as it is.

    Raises:
        ConfigError: A folder in the output is a link that points outside it.
    """
    if isinstance(work, Failure):
        return work
    start = time.perf_counter()
    decision = decide(work.scored, writer.crf)
    result = Result(*decision, writer.classes, writer.palette, work.scored.pixels)
    for file in writer.files(work.name):
        _refuse_outside(file, writer.out)
        kind = file.relative_to(writer.out).parts[0]
        if kind == MASKS:
            write_label_map(file, result.mask, writer.palette)
        elif kind == OVERLAYS:
            with new_file(file) as partial:
                result.overlay().save(partial, format="JPEG", quality=QUALITY)
        else:
            _write_confidence(file, result.confidence)
    height, width = result.mask.shape
    return Row(
        name=work.name,
        stamp=work.stamp,
        width=width,
        height=height,
        found={name: (found[0], found[1]) for name, found in result.found.items()},
        confidence=float(result.confidence.mean(dtype=np.float64)),
        doubt=result.doubt,
        seconds=work.seconds + time.perf_counter() - start,
    )


def _write_confidence(path: Path, confidence: np.ndarray) -> None:
    """Write the confidence as a 16-bit grey PNG, where 65535 is certainty."""
    levels = np.rint(np.clip(confidence, 0, 1) * 65535).astype(np.uint16)
    with new_file(path) as partial:
        Image.fromarray(levels).save(partial, format="PNG")


def _refuse_outside(file: Path, out: Path) -> None:
    if not file.parent.resolve().is_relative_to(out.resolve()):
        raise ConfigError(f"{file.parent}: is a link that points outside {out}; remove it")
