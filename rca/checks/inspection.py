"""The inspection of one image's files: each is decoded once, and each fault is a finding."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from rca.checks.findings import Finding, of_error
from rca.checks.likeness import fingerprint
from rca.config import IGNORE
from rca.data.images import DataError, open_image
from rca.data.palette import voc_palette
from rca.data.upright import is_turned
from rca.data.voc_folder import ImageFiles, VocFolder
from rca.runtime.pool import ordered_map, processes_for
from rca.runtime.progress import progress

MODES = {  # of photographs; only RGB is read without conversion
    "CMYK": ("cmyk", "is in CMYK, whose colours come out wrong without its profile"),
    "L": ("grey", "is grey"),
    "1": ("grey", "is black and white"),
    "I;16": ("grey", "is grey with 16 bits"),
    "RGBA": ("alpha", "has transparency"),
    "LA": ("alpha", "is grey with transparency"),
    "PA": ("alpha", "has transparency"),
}
VOC_COLOURS = voc_palette()
LARGE = 8_000_000  # pixels; a process of the CRF then needs 2.4 to 4 GB
CRF_GB = (0.3e-6, 0.5e-6)  # per pixel, measured on smooth and on noisy photographs


@dataclass(frozen=True)
class Inspection:
    """The contents of an image's files; only findings if the photograph cannot be decoded.

    Attributes:
        size: The width and height of the photograph.
        digest: The SHA-256 of the photograph's bytes.
        pixels: The SHA-256 of its size and RGB pixels, the same for every lossless encoding.
        looks: Its fingerprint, nearly the same for every encoding and size; None if it is a plain
            surface.
        values: The number of pixels of each mask value; None without a usable mask.
        findings: What is wrong.
    """

    size: tuple[int, int] | None = None
    digest: str | None = None
    pixels: str | None = None
    looks: np.ndarray | None = None
    values: dict[int, int] | None = None
    findings: list[Finding] = field(default_factory=list)


def inspect(files: ImageFiles) -> Inspection:
    """Decode and compare the photograph, mask and saliency map of an image."""
    path = files.photograph
    try:
        photograph = open_image(path)
    except DataError as error:
        return Inspection(findings=[of_error("image", path, error, files.image)])
    findings = _photograph_findings(files, photograph)
    values = None
    if files.mask:
        values, faults = _inspect_mask(files, files.mask, photograph.size)
        findings += faults
    if files.saliency:
        findings += _saliency_findings(files, files.saliency, photograph.size)
    return Inspection(
        size=photograph.size,
        digest=hashlib.sha256(path.read_bytes()).hexdigest(),
        pixels=_pixel_digest(photograph),
        looks=fingerprint(photograph),
        values=values,
        findings=findings,
    )


def inspect_all(
    folder: VocFolder, images: Iterable[str], processes: int = 0
) -> dict[str, Inspection]:
    """Inspect the files of images, in several processes if there are many images.

    Args:
        folder: The data set.
        images: The names of the images; repeated ones are inspected once.
        processes: The maximum number of processes; 0 uses every core.

    Returns:
        The inspection of each image, by name.
    """
    names = list(dict.fromkeys(images))
    files = ((name, folder.files(name)) for name in names)
    inspections = ordered_map(inspect, files, processes_for(len(names), processes))
    shown = progress(inspections, len(names), "images checked")
    return dict(zip(names, shown, strict=True))


def _pixel_digest(photograph: Image.Image) -> str:
    digest = hashlib.sha256(repr(photograph.size).encode())
    digest.update(photograph.convert("RGB").tobytes())
    return digest.hexdigest()


def _photograph_findings(files: ImageFiles, photograph: Image.Image) -> list[Finding]:
    found = [MODES[photograph.mode]] if photograph.mode in MODES else []
    if is_turned(photograph):
        found.append(("exif", "is shown turned by viewers (EXIF), but read as it is stored"))
    width, height = photograph.size
    if width * height > LARGE:
        low, high = (width * height * share for share in CRF_GB)
        what = f"is {width} × {height}; the CRF takes {low:.1f} to {high:.1f} GB for it"
        found.append(("large", f"{what} in each of its processes"))
    return [Finding(check, files.photograph, what, (files.image,)) for check, what in found]


def _inspect_mask(
    files: ImageFiles, path: Path, size: tuple[int, int]
) -> tuple[dict[int, int] | None, list[Finding]]:
    """Return the pixels of each value, None if these mean nothing, and the mask's faults."""
    try:
        mask = open_image(path)
    except DataError as error:
        return None, [of_error("mask", path, error, files.image)]
    if mask.mode not in ("P", "L"):
        what = f"a mask must be a palette or grey image, this is {mask.mode}"
        return None, [Finding("mask_mode", path, what, (files.image,))]
    counts = np.bincount(np.asarray(mask).ravel(), minlength=256)
    present = counts.nonzero()[0]
    faults = []
    if mask.size != size:
        faults.append(("mask_size", _sizes(mask.size, size)))
    if files.classes is not None:
        unknown = [int(value) for value in present if files.classes < value < IGNORE]
        if unknown:
            known = f"known are 0 to {files.classes}, and {IGNORE}"
            faults.append(("mask_value", f"holds {unknown}; {known}"))
    if mask.mode == "P" and (other := _other_colours(mask, present)):
        faults.append(("mask_palette", f"colours {other} otherwise than VOC's palette"))
    findings = [Finding(check, path, what, (files.image,)) for check, what in faults]
    return {int(value): int(counts[value]) for value in present}, findings


def _other_colours(mask: Image.Image, present: np.ndarray) -> list[int]:
    """Return the mask's values that are not shown in VOC's colour of that value."""
    colours = np.array(mask.getpalette("RGB"), dtype=np.uint8).reshape(-1, 3)
    return [
        int(value)
        for value in present
        if value >= len(colours) or (colours[value] != VOC_COLOURS[value]).any()
    ]


def _saliency_findings(files: ImageFiles, path: Path, size: tuple[int, int]) -> list[Finding]:
    try:
        saliency = open_image(path)
    except DataError as error:
        return [of_error("saliency", path, error, files.image)]
    if saliency.mode not in ("P", "L"):
        what = f"a saliency map must be a grey image, this is {saliency.mode}"
    elif saliency.size != size:
        what = _sizes(saliency.size, size)
    else:
        return []
    return [Finding("saliency", path, what, (files.image,))]


def _sizes(size: tuple[int, int], wanted: tuple[int, int]) -> str:
    return f"is {size[0]} × {size[1]}, its image {wanted[0]} × {wanted[1]}"
