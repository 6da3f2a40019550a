"""Source `voc12_aug`: PASCAL VOC 2012 with the masks of the Semantic Boundaries Dataset (SBD).

The augmented training set is all that VOC or SBD segment, without VOC's validation images. Where
both have a mask, VOC's is taken: it is finer, and has a border of 255 that SBD's lack.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain
from pathlib import Path, PurePosixPath

from rca.config import Voc12AugSource
from rca.data import registry
from rca.data.archive import contents, sha256_of
from rca.data.fetch import fetch
from rca.data.images import DataError, write_label_map
from rca.data.palette import voc_palette
from rca.data.sources.texts import TagRow, write_texts
from rca.data.sources.voc_formats import CLASSES, image_tags, sbd_mask
from rca.data.voc import read_tags
from rca.files import new_folder, write_json
from rca.progress import progress

log = logging.getLogger(__name__)

VOC = "VOCdevkit/VOC2012"
SBD = "benchmark_RELEASE/dataset"

Lists = dict[str, list[str]]
Tags = dict[str, tuple[str, ...]]


def bring(cfg: Voc12AugSource, out: Path) -> None:
    """Fetch the archives of VOC 2012 and SBD, and make `out` of them, in place of what was there.

    Raises:
        DataError: an archive cannot be had, or they are not what they should be; `out` is
            untouched.
    """
    listed = _listed_tags(cfg)
    wanted = [registry.VOC12_TRAINVAL, registry.SBD, *([registry.VOC12_TEST] if cfg.test else [])]
    archives = [fetch(file, out.parent / "archives", cfg.have) for file in wanted]
    voc, sbd, *test = archives
    with new_folder(out) as partial:
        lists = _voc_lists(voc)
        log.info("%s: turning masks into palette images", sbd)
        lists["train_aug"] = _convert_sbd(sbd, partial, lists)
        tags = _unpack_voc(voc, partial, lists, difficult=cfg.tags != "without_difficult")
        for archive in test:
            lists["test"] = _unpack_test(archive, partial)
        _check_lists(lists)
        _check_files(partial, lists)
        write_texts(partial, CLASSES, lists, _rows(cfg, listed, tags, lists))
        write_json(
            partial / "source.json",
            {
                "source": cfg.source,
                "archives": {file.name: file.sha256 for file in wanted},
                "tags": cfg.tags,
                "tags_sha256": cfg.tags_sha256,
            },
        )
    log.info("%s: %s", out, ", ".join(f"{name} {len(lists[name])}" for name in lists))


def _listed_tags(cfg: Voc12AugSource) -> Tags:
    """The user's tags, before gigabytes are fetched for nothing."""
    if cfg.tags_list is None:
        return {}
    found = sha256_of(cfg.tags_list)
    if found != cfg.tags_sha256:
        raise DataError(
            f"{cfg.tags_list}: its SHA-256 is {found}, not {cfg.tags_sha256}; if this file is "
            "meant, set download.tags_sha256 to it"
        )
    return read_tags(cfg.tags_list)


def _voc_lists(archive: Path) -> Lists:
    paths = {f"{VOC}/ImageSets/Segmentation/{name}.txt" for name in ("train", "trainval", "val")}
    lists = {
        PurePosixPath(name).stem: content.decode().split()
        for name, content in contents(archive, paths.__contains__)
    }
    if len(lists) < len(paths):
        raise DataError(f"{archive}: lacks one of {', '.join(sorted(paths))}")
    return lists


def _convert_sbd(archive: Path, out: Path, lists: Lists) -> list[str]:
    """Write the masks that VOC does not have itself; the names of the augmented training set."""
    palette, segmented = voc_palette(), set(lists["trainval"])
    augmented = set(lists["train"])
    for name, content in contents(archive, lambda name: _is_sbd_truth(name, segmented)):
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
    return name in (f"{SBD}/train.txt", f"{SBD}/val.txt") or (
        path.parent == PurePosixPath(SBD, "cls")
        and path.suffix == ".mat"
        and path.stem not in segmented
    )


def _unpack_voc(archive: Path, out: Path, lists: Lists, *, difficult: bool) -> Tags:
    """Photographs and VOC's own masks as they are; the tags of every listed image."""
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


def _unpack_test(archive: Path, out: Path) -> list[str]:
    path = f"{VOC}/ImageSets/Segmentation/test.txt"
    found = [content.decode().split() for _, content in contents(archive, path.__eq__)]
    if not found:
        raise DataError(f"{archive}: lacks {path}")
    folders = {f"{VOC}/JPEGImages": set(found[0])}
    for name, content in contents(archive, lambda name: _in(folders, name)):
        _write(out / "JPEGImages" / PurePosixPath(name).name, content)
    return found[0]


def _in(folders: dict[str, set[str]], name: str) -> bool:
    path = PurePosixPath(name)
    return path.stem in folders.get(path.parent.as_posix(), ())


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)


@contextmanager
def _naming(archive: Path, member: str) -> Iterator[None]:
    """Let an error about the content of a member say which it is."""
    try:
        yield
    except ValueError as error:
        raise DataError(f"{archive}: {member}: {error}") from None


def _check_lists(lists: Lists) -> None:
    """Whoever compares numbers must have trained and measured on the same images."""
    for name, known in registry.VOC12_LISTS.items():
        if name not in lists:
            continue
        digest = registry.list_digest(lists[name])
        if digest != known.sha256:
            raise DataError(
                f"{name} comes out with {len(lists[name])} images, the field's has {known.images} "
                f"(SHA-256 of the names {digest}, wanted {known.sha256}); please report this"
            )


def _check_files(out: Path, lists: Lists) -> None:
    """What `index` would find missing, before `out` is put in place."""
    wanted = [out / "JPEGImages" / f"{image}.jpg" for image in {*chain(*lists.values())}]
    masked = {*lists["train_aug"], *lists["val"]}
    wanted += [out / "SegmentationClassAug" / f"{image}.png" for image in masked]
    missing = sorted(path.relative_to(out).as_posix() for path in wanted if not path.exists())
    if missing:
        raise DataError(
            f"the archives lack {len(missing)} files of listed images: {', '.join(missing[:5])} …"
        )


def _rows(cfg: Voc12AugSource, listed: Tags, annotated: Tags, lists: Lists) -> list[TagRow]:
    """Tags of every image; with a list, those of validation images may come from annotations."""
    if cfg.tags == "list":
        _refuse_gaps(lists["train_aug"], listed, f"{cfg.tags_list}: has no row for")
    known = {**annotated, **listed}
    _refuse_gaps([*lists["train_aug"], *lists["val"]], known, "there is no annotation of")
    return [
        (image, split, known.get(image, ()))
        for split in ("train_aug", "val", "test")
        for image in lists.get(split, ())
    ]


def _refuse_gaps(images: list[str], tags: Tags, message: str) -> None:
    missing = [image for image in images if image not in tags]
    if missing:
        raise DataError(f"{message} {len(missing)} images, such as {missing[0]}")
