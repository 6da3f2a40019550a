"""The files of one photograph. Worker processes import this: it needs no torch."""

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
    """What tells that a file is the one that was segmented: path, bytes and time of change."""

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
        name: in the output.
        stamp: of the file, from before it was read.
        scored: pixels and probabilities.
        seconds: that it took so far.
    """

    name: str
    stamp: Stamp
    scored: Scored
    seconds: float


@dataclass(frozen=True)
class Row:
    """What is kept of a photograph beside its files.

    Attributes:
        name: in the output.
        stamp: of the file.
        width: of the mask.
        height: of the mask.
        found: class → share of the area and mean confidence, the largest first.
        confidence: mean over all pixels.
        doubt: of the mask, from 0 to 1.
        seconds: that it took.
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
    """Where the files of the photographs go, and which there shall be.

    Attributes:
        out: folder of the output; nothing is written outside it.
        classes: C names, in label order.
        palette: uint8 (256, 3), label → colour.
        crf: the CRF, if there is one.
        overlays: also draw the masks over the photographs.
        confidence: also write each pixel's confidence.
    """

    out: Path
    classes: tuple[str, ...]
    palette: np.ndarray
    crf: Crf | None
    overlays: bool = False
    confidence: bool = False

    def mask(self, name: str) -> Path:
        """Where the mask is."""
        return self.out / MASKS / f"{name}.png"

    def files(self, name: str) -> list[Path]:
        """All files of a photograph."""
        files = [self.mask(name)]
        if self.overlays:
            files.append(self.out / OVERLAYS / f"{name}.jpg")
        if self.confidence:
            files.append(self.out / CONFIDENCE / f"{name}.png")
        return files

    def wrote(self, row: Row) -> bool:
        """Whether all files of the photograph are there, its mask whole."""
        mask, *others = self.files(row.name)
        return is_label_map(mask, row.height, row.width) and all(map(Path.is_file, others))


def finish(work: Work | Failure, writer: Writer) -> Row | Failure:
    """Decide on the mask and write the photograph's files; a failure is passed on.

    Raises:
        ConfigError: a folder in the output is a link that points outside it.
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
    """Grey PNG of 16 bits, 65535 for certainty."""
    levels = np.rint(np.clip(confidence, 0, 1) * 65535).astype(np.uint16)
    with new_file(path) as partial:
        Image.fromarray(levels).save(partial, format="PNG")


def _refuse_outside(file: Path, out: Path) -> None:
    if not file.parent.resolve().is_relative_to(out.resolve()):
        raise ConfigError(f"{file.parent}: is a link that points outside {out}; remove it")
