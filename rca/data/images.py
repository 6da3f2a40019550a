"""Reading images and masks, writing label maps; errors name the file."""

from __future__ import annotations

import csv
import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError, features
from safetensors import SafetensorError

from rca.runtime.files import new_file

HEIC = {b"heic", b"heix", b"hevc", b"heim", b"heis", b"mif1", b"msf1"}
# What Pillow's decoders raise on damaged files.
UNDECODABLE = (
    OSError,  # includes UnidentifiedImageError
    SyntaxError,
    ValueError,
    TypeError,
    LookupError,
    EOFError,
    OverflowError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
)
# What failed downloads leave under an image's name, by the file's first bytes.
DISGUISED = {
    b"<!doctype": "a web page",
    b"<html": "a web page",
    b"<?xml": "XML",
    b"<svg": "SVG",
    b"version https://git-lfs": "a pointer of Git LFS",
    b"pk\x03\x04": "a ZIP archive",
    b"%pdf": "a PDF",
    b"\x00\x05\x16\x07": "a note of macOS",
}


# What reading and using one of the project's own files raises if it is damaged: JSON, CSV or
# safetensors.
DAMAGED = (
    SafetensorError,
    csv.Error,
    ValueError,  # malformed JSON, UTF-8 and numbers
    LookupError,
    TypeError,
    AttributeError,
    OverflowError,
    struct.error,
    IsADirectoryError,
)


class DataError(ValueError):
    """An unusable file of the data set; the message names the file and says what to do."""


@contextmanager
def whole(path: Path, fix: str) -> Iterator[None]:
    """Report damage to a file that a stage wrote, read in the `with` block, as one line.

    Args:
        path: The file or folder, for the message.
        fix: What to do about the damage, for the message.

    Raises:
        DataError: The file is damaged.
    """
    try:
        yield
    except DataError:
        raise
    except DAMAGED as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DataError(f"{path}: damaged ({reason}); {fix}") from None


def open_image(path: Path) -> Image.Image:
    """Open and decode an image, in the mode in which it is stored.

    Raises:
        DataError: The file is missing or cannot be decoded.
    """
    try:
        image = _decoded(path)
    except FileNotFoundError:
        raise DataError(f"{path}: no such image") from None
    except PermissionError:
        raise DataError(f"{path}: permission denied; change the file's permissions") from None
    except UNDECODABLE as error:
        cause, fix = _cause(path, error)
        raise DataError(f"{path}: {cause}; {fix}") from None
    return image


def _decoded(path: Path) -> Image.Image:
    with warnings.catch_warnings():
        # Pillow warns above its size limit, and `rca data doctor` checks sizes; above twice the
        # limit Pillow raises an error.
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        try:
            image = Image.open(path)
        except UnidentifiedImageError:
            if not (_is_heic(path) and _reads_heic()):
                raise
            image = Image.open(path)
        if image.format == "PNG":  # verify its checksums, which the decoder ignores
            with Image.open(path) as twin:
                twin.verify()
        image.load()
    return image


def _is_heic(path: Path) -> bool:
    """Check whether a file is HEIC, the format of Apple's photographs, whatever its suffix."""
    start = _start(path)
    return start[4:8] == b"ftyp" and start[8:12] in HEIC


def _reads_heic() -> bool:
    try:
        from pillow_heif import register_heif_opener
    except ImportError:
        return False
    register_heif_opener()
    return True


def _cause(path: Path, error: Exception) -> tuple[str, str]:
    """Describe why an image cannot be decoded, and what to do about it."""
    start, why, fix = _start(path), str(error).replace(f" '{path}'", ""), "fetch it again"
    disguise = (what for sign, what in DISGUISED.items() if start.lstrip().lower().startswith(sign))
    if not start:
        why = "it is empty"
    elif isinstance(error, Image.DecompressionBombError):
        why = f"it has more than {2 * (Image.MAX_IMAGE_PIXELS or 0) // 10**6} megapixels"
        fix = "scale it down"
    elif _is_heic(path) and not _reads_heic():
        why = "it is HEIC, which needs pillow-heif: pip install 'rca-wsss[heic]'"
        fix = "or save it as JPEG"
    elif start[4:12] == b"ftypavif" and not features.check("avif"):
        why, fix = "it is AVIF, which this build of Pillow cannot read", "save it as JPEG"
    elif what := next(disguise, None):
        why = f"it is {what}"
    elif isinstance(error, UnidentifiedImageError):
        why = "no image format is known that begins so"
    return f"cannot be decoded ({why})", fix


def _start(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(512)


def read_image(path: Path) -> Image.Image:
    """Read an image as RGB.

    Raises:
        DataError: The file is missing or cannot be decoded.
    """
    return open_image(path).convert("RGB")


def read_mask(path: Path) -> np.ndarray:
    """Read the stored values of a palette or greyscale PNG, uint8 (H, W).

    Raises:
        DataError: The file is missing, cannot be decoded, or holds colours instead of values.
    """
    image = open_image(path)
    if image.mode not in ("P", "L"):
        raise DataError(f"{path}: a mask must be a palette or grey image, this is {image.mode}")
    return np.asarray(image)


def is_label_map(path: Path, height: int, width: int) -> bool:
    """Check whether `path` is a complete label map of this size, as `write_label_map` writes it."""
    try:
        with Image.open(path) as image:
            fits = (image.mode, image.size) == ("P", (width, height))
            image.verify()  # checksums: a decoder may accept a truncated file
    except (OSError, SyntaxError):
        return False
    return fits


def write_label_map(path: Path, labels: np.ndarray, palette: np.ndarray) -> None:
    """Write `labels`, uint8 (H, W), as a palette PNG, completely or not at all."""
    image = Image.fromarray(labels.astype(np.uint8, copy=False), mode="P")
    image.putpalette(palette.astype(np.uint8).tobytes())
    with new_file(path) as partial:
        image.save(partial, format="PNG")
