"""Photographs as viewers show them: with the EXIF orientation applied, in RGB.

CMYK is converted to sRGB with its profile; transparent pixels are composited on white.
"""

from __future__ import annotations

import io

from PIL import ExifTags, Image, ImageCms, ImageOps


def is_turned(photograph: Image.Image) -> bool:
    """Check whether EXIF tells viewers to rotate or mirror the photograph, which no stage does."""
    return photograph.getexif().get(ExifTags.Base.Orientation, 1) in range(2, 9)


def upright(image: Image.Image) -> Image.Image:
    """Convert an image to what viewers show, in RGB."""
    image = ImageOps.exif_transpose(image)
    if image.mode == "CMYK":
        return _from_cmyk(image)
    if image.mode.startswith("I"):  # 16-bit greyscale, whose values PIL would clip at 255
        return image.point(lambda value: value / 256).convert("L").convert("RGB")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    return image.convert("RGB")


def _from_cmyk(image: Image.Image) -> Image.Image:
    profile = image.info.get("icc_profile")
    if not profile:
        return image.convert("RGB")
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        target = ImageCms.createProfile("sRGB")
        converted = ImageCms.profileToProfile(image, source, target, outputMode="RGB")
    except (ImageCms.PyCMSError, OSError):
        return image.convert("RGB")  # treat a damaged profile like a missing one
    assert converted is not None  # only `inPlace=True` returns None
    return converted
