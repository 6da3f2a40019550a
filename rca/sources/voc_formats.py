"""What the files of VOC and SBD hold: class names, tags of an annotation, mask of a `.mat`."""

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
# What loadmat, and looking for a field that is not there, raise.
UNREADABLE = (
    MatReadError, NotImplementedError, OSError, zlib.error,
    KeyError, IndexError, TypeError, ValueError,
)  # fmt: skip


def image_tags(annotation: bytes, *, difficult: bool) -> tuple[str, ...]:
    """Classes of the objects of a VOC annotation (XML), in VOC's order.

    Args:
        annotation: content of `Annotations/<image>.xml`.
        difficult: count objects that are marked so, too.

    Raises:
        ValueError: no XML, or an object of an unknown class.
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
    """The class mask of SBD's `cls/<image>.mat`, uint8 (H, W), 0 to 20.

    Raises:
        ValueError: no such file of MATLAB's version 5, or not that content.
    """
    try:
        truth = loadmat(io.BytesIO(mat), variable_names=["GTcls"])["GTcls"]
        mask = truth[0, 0]["Segmentation"]
    except UNREADABLE as error:
        raise ValueError(f"holds no GTcls.Segmentation ({error})") from None
    if mask.dtype != np.uint8 or mask.ndim != 2 or mask.max(initial=0) > len(CLASSES):
        raise ValueError(f"GTcls.Segmentation is no mask ({mask.dtype}, {mask.shape})")
    return mask
