"""The import of VOC 2012, SBD and the user's saliency maps from archives into the layout."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from rca.data.images import DataError, write_label_map
from rca.data.palette import voc_palette
from rca.runtime.progress import progress
from rca.sources import remote_files
from rca.sources.unpacking import contents
from rca.sources.voc_formats import image_tags, sbd_mask

VOC = "VOCdevkit/VOC2012"
SBD = "benchmark_RELEASE/dataset"
SBD_LISTS = (f"{SBD}/train.txt", f"{SBD}/val.txt")

Lists = dict[str, list[str]]
Tags = dict[str, tuple[str, ...]]


def voc_lists(archive: Path) -> Lists:
    """Read the lists of images that VOC segments: `train`, `val`, and `trainval`, which is both.

    Raises:
        DataError: VOC's archive lacks a list.
    """
    paths = {f"{VOC}/ImageSets/Segmentation/{name}.txt" for name in ("train", "trainval", "val")}
    lists = {
        PurePosixPath(name).stem: content.decode().split()
        for name, content in contents(archive, paths.__contains__)
    }
    if len(lists) < len(paths):
        raise DataError(f"{archive}: lacks one of {', '.join(sorted(paths))}")
    return lists


def convert_sbd(archive: Path, out: Path, lists: Lists) -> list[str]:
    """Write SBD's masks of images that VOC itself does not segment, as palette PNGs.

    Args:
        archive: SBD's archive.
        out: The folder of the layout.
        lists: VOC's lists.

    Returns:
        The augmented training set: the images that VOC or SBD segment, without VOC's `val`, sorted.

    Raises:
        DataError: A `.mat` file does not hold what SBD's do.
    """
    palette, segmented = voc_palette(), set(lists["trainval"])
    augmented = set(lists["train"])
    files = contents(archive, lambda name: _is_sbd_truth(name, segmented))
    expected = remote_files.VOC12_LISTS["train_aug"].images - len(lists["train"]) + len(SBD_LISTS)
    for name, content in progress(files, expected, f"{archive.name}: masks"):
        path = PurePosixPath(name)
        if path.suffix == ".txt":
            augmented |= set(content.decode().split())
            continue
        with _naming(archive, name):
            mask = sbd_mask(content)
        write_label_map(out / "SegmentationClassAug" / f"{path.stem}.png", mask, palette)
    return sorted(augmented - set(lists["val"]))


def _is_sbd_truth(name: str, segmented: set[str]) -> bool:
    path = PurePosixPath(name)
    return name in SBD_LISTS or (
        path.parent == PurePosixPath(SBD, "cls")
        and path.suffix == ".mat"
        and not path.name.startswith(".")  # added by tar on macOS
        and path.stem not in segmented
    )


def unpack_voc(archive: Path, out: Path, lists: Lists, *, difficult: bool) -> Tags:
    """Write the photographs and VOC's own masks as they are.

    Returns:
        The tags of the images of `train_aug` and `val` that the archive annotates.

    Raises:
        DataError: An annotation cannot be read.
    """
    images = set(lists["train_aug"]) | set(lists["val"])
    folders = {
        f"{VOC}/JPEGImages": images,
        f"{VOC}/Annotations": images,
        f"{VOC}/SegmentationClass": set(lists["trainval"]),
    }
    tags: Tags = {}
    total = sum(map(len, folders.values()))
    files = progress(contents(archive, lambda name: _in(folders, name)), total, archive.name)
    for name, content in files:
        path = PurePosixPath(name)
        if path.suffix == ".jpg":
            _write(out / "JPEGImages" / path.name, content)
        elif path.suffix == ".png":
            _write(out / "SegmentationClassAug" / path.name, content)
        else:
            with _naming(archive, name):
                tags[path.stem] = image_tags(content, difficult=difficult)
    return tags


def unpack_test(archive: Path, out: Path) -> list[str]:
    """Write the photographs of the segmentation task's test set; return their names.

    Raises:
        DataError: The archive lacks the list.
    """
    path = f"{VOC}/ImageSets/Segmentation/test.txt"
    found = [content.decode().split() for _, content in contents(archive, path.__eq__)]
    if not found:
        raise DataError(f"{archive}: lacks {path}")
    folders = {f"{VOC}/JPEGImages": set(found[0])}
    for name, content in contents(archive, lambda name: _in(folders, name)):
        _write(out / "JPEGImages" / PurePosixPath(name).name, content)
    return found[0]


def unpack_saliency(archive: Path, out: Path, images: list[str]) -> None:
    """Write the maps `<image>.png`, wherever they lie in the archive.

    Raises:
        DataError: An image has no map.
    """
    lacking = set(images)
    for name, content in contents(archive, lambda name: name.endswith(".png")):
        path = PurePosixPath(name)
        if path.stem in lacking:
            lacking.remove(path.stem)
            _write(out / "saliency" / path.name, content)
    if lacking:
        raise DataError(
            f"{archive}: has no <image>.png for {len(lacking)} of {len(images)} training images, "
            f"such as {min(lacking)}"
        )


def _in(folders: dict[str, set[str]], name: str) -> bool:
    path = PurePosixPath(name)
    return path.stem in folders.get(path.parent.as_posix(), ())


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)


@contextmanager
def _naming(archive: Path, member: str) -> Iterator[None]:
    """Name the archive and the member in errors about the member's content."""
    try:
        yield
    except ValueError as error:
        raise DataError(f"{archive}: {member}: {error}") from None
