"""The import of one photograph of a user's folder into the layout: upright, RGB, JPEG.

An upright RGB JPEG is linked. Any other file is decoded, rotated by its EXIF orientation, converted
to sRGB by its colour profile if it is CMYK, composited onto white if it is transparent, and saved
as a JPEG of quality 95 without chroma subsampling.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from PIL import ExifTags, Image, ImageOps

from rca.checks.findings import Finding, of_error
from rca.data.images import DataError, open_image
from rca.data.upright import is_turned, upright
from rca.runtime.files import link

QUALITY = 95
LONGEST_SIDE = 65500  # pixels; libjpeg's limit


@dataclass(frozen=True)
class Photograph:
    """A user's file, its mask if it has one, and its name in the data set."""

    file: Path
    mask: Path | None
    image: str


def bring_photograph(photograph: Photograph, out: Path) -> Finding | None:
    """Put a photograph and its mask into `out`; return a finding if one cannot be used.

    A photograph whose mask cannot be used is imported without it.
    """
    file = photograph.file
    try:
        image = open_image(file)
    except DataError as error:
        return of_error("photo_unread", file, error, photograph.image)
    target = out / "JPEGImages" / f"{photograph.image}.jpg"
    if image.format == "JPEG" and image.mode == "RGB" and not is_turned(image):
        link(file, target)
    elif why := _unsaved(image):
        return Finding("photo_unread", file, why, (photograph.image,))
    else:
        upright(image).save(target, format="JPEG", quality=QUALITY, subsampling=0)
    if photograph.mask:
        return _bring_mask(photograph, image, out / "SegmentationClassAug")
    return None


def _unsaved(image: Image.Image) -> str | None:
    """Return why the image cannot be saved as JPEG, or None if it can."""
    if image.mode == "F":
        return "holds floating-point values, of which nothing says which are bright"
    if max(image.size) > LONGEST_SIDE:
        return f"is {image.width} × {image.height}; a JPEG has at most {LONGEST_SIDE} a side"
    return None


def _bring_mask(photograph: Photograph, image: Image.Image, folder: Path) -> Finding | None:
    """Link the mask; rotate it if it was drawn on the photograph as stored, not as shown.

    The mask's size says which of the two it was drawn on, unless rotation keeps the size.
    """
    path = photograph.mask
    assert path is not None
    try:
        mask = open_image(path)
    except DataError as error:
        return of_error("mask_unread", path, error, photograph.image)
    target = folder / f"{photograph.image}.png"
    shown = ImageOps.exif_transpose(image).size
    if is_turned(image) and mask.size == image.size == shown:
        what = "may be drawn on the photograph as it is stored or as it is shown, which differ"
        return Finding("mask_turned", path, what, (photograph.image,))
    if is_turned(image) and mask.size == image.size:
        mask.getexif()[ExifTags.Base.Orientation] = image.getexif()[ExifTags.Base.Orientation]
        ImageOps.exif_transpose(mask).save(target, format="PNG")
    else:
        link(path, target)
    return None
