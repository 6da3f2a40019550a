"""The archive that the VOC 2012 evaluation server takes for its segmentation test set.

    results/VOC2012/Segmentation/<competition>_test_cls/<image>.png

It holds one palette PNG for each image of the list, of the image's size, with values 0 to 20; no
255. `comp5` is for methods that learnt from the data set alone, `comp6` for those that learnt from
anything else as well.
"""

from __future__ import annotations

import gzip
import io
import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from rca.data.images import DataError, read_mask
from rca.data.palette import voc_palette
from rca.runtime.files import new_file

CLASSES = 20
TEST_IMAGES = 1456  # of VOC 2012's list
SHOWN = 10  # faults in a message


def pack_submission(
    out: Path, *, images: Sequence[str], photographs: Path, predictions: Path, competition: str
) -> None:
    """Check the predictions and write the archive atomically; same masks, same bytes.

    Args:
        out: The archive, `.tar.gz` or `.tgz`.
        images: The names of the test images.
        photographs: The folder of `<image>.jpg`.
        predictions: The folder of `<image>.png`, with VOC's own label values.
        competition: `comp5` or `comp6`.

    Raises:
        DataError: A mask is missing or the server would refuse it; the first faults are listed.
    """
    if not out.name.endswith((".tar.gz", ".tgz")):
        raise DataError(f"{out}: the server takes a .tar.gz or .tgz; name it so")
    if not images:
        raise DataError("the list of test images is empty")
    faults = [fault for image in images for fault in _faults(image, photographs, predictions)]
    if faults:
        more = f"\n  and {len(faults) - SHOWN} more" if len(faults) > SHOWN else ""
        raise DataError(
            f"{predictions} cannot be submitted:\n  " + "\n  ".join(faults[:SHOWN]) + more
        )
    folder = f"results/VOC2012/Segmentation/{competition}_test_cls"
    with (
        new_file(out) as partial,
        partial.open("wb") as raw,
        gzip.GzipFile("", "wb", mtime=0, fileobj=raw) as packed,
        tarfile.open(fileobj=packed, mode="w") as archive,
    ):
        for image in sorted(set(images)):
            content = _png(read_mask(predictions / f"{image}.png"))
            entry = tarfile.TarInfo(f"{folder}/{image}.png")
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))


def _faults(image: str, photographs: Path, predictions: Path) -> Iterator[str]:
    """Yield each reason why the server would refuse an image's mask."""
    path = predictions / f"{image}.png"
    if not path.is_file():
        yield f"{path}: missing"
        return
    try:
        labels = read_mask(path)
        size = _size(photographs / f"{image}.jpg")
    except DataError as error:
        yield str(error)
        return
    if labels.shape[::-1] != size:
        yield f"{path}: is {_by(labels.shape[::-1])}, the photograph is {_by(size)}"
    values = np.unique(labels)
    if values.max() > CLASSES:
        yield f"{path}: holds {values.max()}; allowed are 0 to {CLASSES}"
    elif not _voc_colours(path, values):
        yield f"{path}: its palette is not VOC's, so its labels may be in another order"


def _voc_colours(path: Path, values: np.ndarray) -> bool:
    """Check whether a mask's values have VOC's colours; a mask without a palette passes."""
    with Image.open(path) as image:
        palette = image.getpalette()
    if palette is None:
        return True
    colours = np.zeros((256, 3), np.uint8)
    colours[: len(palette) // 3] = np.reshape(palette, (-1, 3))
    return bool((colours[values] == voc_palette()[values]).all())


def _size(path: Path) -> tuple[int, int]:
    """Return the width and height of a photograph, reading only its header."""
    try:
        with Image.open(path) as image:
            return image.size
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error})") from None


def _by(size: tuple[int, ...]) -> str:
    return " × ".join(map(str, size))


def _png(labels: np.ndarray) -> bytes:
    image = Image.fromarray(labels, mode="P")
    image.putpalette(voc_palette().tobytes())
    content = io.BytesIO()
    image.save(content, format="PNG")
    return content.getvalue()
