"""One photograph of a user's folder on its way into the layout: upright, RGB, JPEG.

A JPEG that is so already is linked. Any other is decoded, turned as EXIF asks, converted to sRGB by
its profile where it is in CMYK, laid on white where it is transparent, and saved as JPEG of quality
95 without chroma subsampling.
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
LONGEST_SIDE = 65500  # of a JPEG as libjpeg writes it


@dataclass(frozen=True)
class Photograph:
    """A file of the user, its mask if it has one, and the name it gets."""

    file: Path
    mask: Path | None
    image: str


def bring_photograph(photograph: Photograph, out: Path) -> Finding | None:
    """Put photograph and mask into the folders of `out`; what is wrong if one cannot be read.

    A photograph whose mask cannot be used is there without it.
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
    """Why it cannot become a JPEG."""
    if image.mode == "F":
        return "holds floating-point values, of which nothing says which are bright"
    if max(image.size) > LONGEST_SIDE:
        return f"is {image.width} × {image.height}; a JPEG has at most {LONGEST_SIDE} a side"
    return None


def _bring_mask(photograph: Photograph, image: Image.Image, folder: Path) -> Finding | None:
    """Link the mask; one that was drawn on the photograph as it is stored is turned with it.

    Its size says which of the two it was drawn on, unless turning leaves the size as it is.
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
