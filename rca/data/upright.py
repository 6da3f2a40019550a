"""Photographs as viewers show them: turned as EXIF asks, in RGB.

CMYK is converted to sRGB by its profile; what is transparent is laid on white.
"""

from __future__ import annotations

import io

from PIL import ExifTags, Image, ImageCms, ImageOps


def is_turned(photograph: Image.Image) -> bool:
    """Whether EXIF asks viewers to turn or mirror it, which no stage does."""
    return photograph.getexif().get(ExifTags.Base.Orientation, 1) in range(2, 9)


def upright(image: Image.Image) -> Image.Image:
    """The image as viewers show it, in RGB."""
    image = ImageOps.exif_transpose(image)
    if image.mode == "CMYK":
        return _from_cmyk(image)
    if image.mode.startswith("I"):  # 16 bits of grey, which PIL would clip to 8
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
        return image.convert("RGB")  # a damaged profile is as good as none
    assert converted is not None  # only `inPlace` returns nothing
    return converted
