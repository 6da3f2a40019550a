"""Archives of VOC 2012 and SBD in their real layout, with a handful of images."""

from __future__ import annotations

import hashlib
import io
import tarfile
from dataclasses import dataclass, field

import numpy as np
from PIL import Image
from scipy.io import savemat
from scipy.sparse import csc_array

from rca.data.palette import voc_palette

VOC = "VOCdevkit/VOC2012"
SBD = "benchmark_RELEASE/dataset"
SIZE = (12, 8)  # width, height
Object = tuple[str, bool]  # class name, difficult


@dataclass
class TinyArchives:
    """What the three archives hold; `voc`, `test` and `sbd` pack it.

    Attributes:
        objects: image → annotated objects.
        voc_lists: `train`, `val` → images that VOC segments.
        sbd_lists: `train`, `val` of SBD → images that SBD segments.
        sbd_value: the class that SBD's masks hold everywhere but in the first column.
    """

    objects: dict[str, list[Object]]
    voc_lists: dict[str, list[str]]
    sbd_lists: dict[str, list[str]]
    test_images: list[str] = field(default_factory=list)
    sbd_value: int = 12

    def voc(self) -> bytes:
        files = {f"{VOC}/Annotations/{image}.xml": annotation(image, objects)
                 for image, objects in self.objects.items()}  # fmt: skip
        segmented = self.voc_lists["train"] + self.voc_lists["val"]
        for name, images in (*self.voc_lists.items(), ("trainval", segmented)):
            files[f"{VOC}/ImageSets/Segmentation/{name}.txt"] = listing(images)
        files[f"{VOC}/ImageSets/Main/train.txt"] = b"2099_000001\n"  # of another task
        files |= {f"{VOC}/JPEGImages/{image}.jpg": photograph(image) for image in self.objects}
        for image in segmented:
            files[f"{VOC}/SegmentationClass/{image}.png"] = voc_mask()
            files[f"{VOC}/SegmentationObject/{image}.png"] = voc_mask()
        return packed(files)

    def test(self) -> bytes:
        files = {f"{VOC}/ImageSets/Segmentation/test.txt": listing(self.test_images)}
        for image in [*self.test_images, "2099_000002"]:
            files[f"{VOC}/JPEGImages/{image}.jpg"] = photograph(image)
        return packed(files)

    def sbd(self) -> bytes:
        files = {f"{SBD}/{name}.txt": listing(images) for name, images in self.sbd_lists.items()}
        for image in {image for images in self.sbd_lists.values() for image in images}:
            files[f"{SBD}/img/{image}.jpg"] = photograph(image)
            files[f"{SBD}/cls/{image}.mat"] = sbd_truth(self.sbd_value)
            files[f"{SBD}/cls/._{image}.mat"] = b"of macOS"
            files[f"{SBD}/inst/{image}.mat"] = b"not looked at"
        return packed(files, "w:gz")


def listing(images: list[str]) -> bytes:
    return "".join(f"{image}\n" for image in images).encode()


def photograph(image: str) -> bytes:
    colour = tuple(hashlib.sha256(image.encode()).digest()[:3])  # no two alike
    out = io.BytesIO()
    Image.new("RGB", SIZE, colour).save(out, "JPEG")
    return out.getvalue()


def voc_mask() -> bytes:
    """An aeroplane with VOC's border of 255."""
    values = np.zeros(SIZE[::-1], np.uint8)
    values[2:6, 3:9], values[3:5, 4:8] = 255, 1
    mask = Image.fromarray(values, "P")
    mask.putpalette(voc_palette().tobytes())
    out = io.BytesIO()
    mask.save(out, "PNG")
    return out.getvalue()


def annotation(image: str, objects: list[Object]) -> bytes:
    """As VOC writes it: a person's parts have names, too, and some objects say no `difficult`."""
    parts = "<part><name>head</name><bndbox/></part>"
    texts = [
        f"<object><name>{name}</name>{'<difficult>1</difficult>' if difficult else ''}"
        f"<bndbox/>{parts if name == 'person' else ''}</object>"
        for name, difficult in objects
    ]
    return (
        f"<annotation><filename>{image}.jpg</filename><source/>{''.join(texts)}</annotation>"
    ).encode()


def sbd_truth(value: int) -> bytes:
    """SBD's `cls/*.mat`: a struct GTcls of sparse boundaries per class, mask and classes."""
    mask = np.full(SIZE[::-1], value, np.uint8)
    mask[:, 0] = 0
    boundaries = np.empty((20, 1), object)
    for row in range(20):
        boundaries[row, 0] = csc_array(np.zeros(mask.shape))
    present = np.array([[value]], np.uint8)
    truth = {"Boundaries": boundaries, "Segmentation": mask, "CategoriesPresent": present}
    out = io.BytesIO()
    savemat(out, {"GTcls": truth}, do_compression=True)
    return out.getvalue()


def packed(files: dict[str, bytes], mode: str = "w") -> bytes:
    """A tar of `files`, with folders and a link that nobody wants, as real ones have them."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode=mode) as tar:
        link = tarfile.TarInfo("code/latest")
        link.type, link.linkname = tarfile.SYMTYPE, "/usr"
        tar.addfile(link)
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return out.getvalue()
