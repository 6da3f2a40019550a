"""The formats of VOC and SBD: class names, tags of an annotation, the mask of a `.mat` file."""

from __future__ import annotations

import io
import zlib
from xml.etree import ElementTree

import numpy as np
from scipy.io import loadmat
from scipy.io.matlab import MatReadError

CLASSES = (
    "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow",
    "diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train",
    "tvmonitor",
)  # fmt: skip
# Raised by loadmat, and by access to a missing field.
UNREADABLE = (
    MatReadError, NotImplementedError, OSError, zlib.error,
    KeyError, IndexError, TypeError, ValueError,
)  # fmt: skip


def image_tags(annotation: bytes, *, difficult: bool) -> tuple[str, ...]:
    """Return the classes of the objects in a VOC annotation (XML), in VOC's order.

    Args:
        annotation: The content of `Annotations/<image>.xml`.
        difficult: Whether to count objects that are marked as difficult, too.

    Raises:
        ValueError: The annotation is not XML, or has an object of an unknown class.
    """
    try:
        objects = ElementTree.fromstring(annotation).findall("object")
    except ElementTree.ParseError as error:
        raise ValueError(f"no XML ({error})") from None
    names = {
        found.findtext("name", "").strip()
        for found in objects
        if difficult or found.findtext("difficult", "0").strip() != "1"
    }
    if unknown := names - set(CLASSES):
        raise ValueError(f"has objects of unknown classes ({', '.join(sorted(unknown))})")
    return tuple(name for name in CLASSES if name in names)


def sbd_mask(mat: bytes) -> np.ndarray:
    """Read the class mask of SBD's `cls/<image>.mat`, uint8 (H, W), 0 to 20.

    Raises:
        ValueError: The content is not a MATLAB 5 file, or holds no such mask.
    """
    try:
        truth = loadmat(io.BytesIO(mat), variable_names=["GTcls"])["GTcls"]
        mask = truth[0, 0]["Segmentation"]
    except UNREADABLE as error:
        raise ValueError(f"holds no GTcls.Segmentation ({error})") from None
    if mask.dtype != np.uint8 or mask.ndim != 2 or mask.max(initial=0) > len(CLASSES):
        raise ValueError(f"GTcls.Segmentation is no mask ({mask.dtype}, {mask.shape})")
    return mask
