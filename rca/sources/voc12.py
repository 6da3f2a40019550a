"""Source `voc12_aug`: PASCAL VOC 2012 with the masks of the Semantic Boundaries Dataset (SBD).

The augmented training set consists of all images that VOC or SBD segment, except VOC's validation
images. If both have a mask, VOC's is used: it is finer, and has a border of 255 that SBD's lack.
"""

from __future__ import annotations

import logging
from itertools import chain
from pathlib import Path

from rca.config import Voc12AugSource
from rca.data.checksums import sha256_of
from rca.data.images import DataError
from rca.data.voc_folder import read_tags
from rca.runtime.files import new_folder, write_json
from rca.sources import remote_files
from rca.sources.fetch import fetch
from rca.sources.texts import TagRow, write_texts
from rca.sources.voc_archives import (
    Lists,
    Tags,
    convert_sbd,
    unpack_saliency,
    unpack_test,
    unpack_voc,
    voc_lists,
)
from rca.sources.voc_formats import CLASSES

log = logging.getLogger(__name__)


def bring(cfg: Voc12AugSource, out: Path) -> None:
    """Fetch VOC 2012 and SBD, and build `out` from them, replacing what was there.

    Raises:
        DataError: An archive cannot be fetched, or the files are not as expected; `out` is
            untouched.
    """
    listed = _own_files(cfg)
    wanted = [
        remote_files.VOC12_TRAINVAL,
        remote_files.SBD,
        *([remote_files.VOC12_TEST] if cfg.test else []),
    ]
    archives = [fetch(file, out.parent / "archives", cfg.have) for file in wanted]
    voc, sbd, *test = archives
    with new_folder(out) as partial:
        lists = voc_lists(voc)
        lists["train_aug"] = convert_sbd(sbd, partial, lists)
        tags = unpack_voc(voc, partial, lists, difficult=cfg.tags != "without_difficult")
        for archive in test:
            lists["test"] = unpack_test(archive, partial)
        _check_lists(lists)
        if cfg.saliency:
            unpack_saliency(cfg.saliency, partial, lists["train_aug"])
        _check_files(partial, lists)
        write_texts(partial, CLASSES, lists, _rows(cfg, listed, tags, lists))
        write_json(
            partial / "source.json",
            {
                "source": cfg.source,
                "archives": {file.name: file.sha256 for file in wanted},
                "tags": cfg.tags,
                "tags_sha256": cfg.tags_sha256,
                "saliency_sha256": cfg.saliency_sha256,
            },
        )
    log.info("%s: %s", out, ", ".join(f"{name} {len(lists[name])}" for name in lists))


def _own_files(cfg: Voc12AugSource) -> Tags:
    """Check the user's own files before gigabytes are fetched; return the listed tags."""
    for key, path, wanted in (
        ("tags_sha256", cfg.tags_list, cfg.tags_sha256),
        ("saliency_sha256", cfg.saliency, cfg.saliency_sha256),
    ):
        if path is not None and (found := sha256_of(path)) != wanted:
            raise DataError(
                f"{path}: its SHA-256 is {found}, not {wanted}; if this file is meant, set "
                f"download.{key} to it"
            )
    return read_tags(cfg.tags_list) if cfg.tags_list else {}


def _check_lists(lists: Lists) -> None:
    """Check the lists against the field's: only numbers on the same images are comparable."""
    for name, known in remote_files.VOC12_LISTS.items():
        if name not in lists:
            continue
        digest = remote_files.list_digest(lists[name])
        if digest != known.sha256:
            raise DataError(
                f"{name} comes out with {len(lists[name])} images, the field's has {known.images} "
                f"(SHA-256 of the names {digest}, wanted {known.sha256}); please report this"
            )


def _check_files(out: Path, lists: Lists) -> None:
    """Check that no file that `index` needs is missing, before `out` is put in place."""
    wanted = [out / "JPEGImages" / f"{image}.jpg" for image in {*chain(*lists.values())}]
    masked = {*lists["train_aug"], *lists["val"]}
    wanted += [out / "SegmentationClassAug" / f"{image}.png" for image in masked]
    missing = sorted(path.relative_to(out).as_posix() for path in wanted if not path.exists())
    if missing:
        raise DataError(
            f"the archives lack {len(missing)} files of listed images: {', '.join(missing[:5])} …"
        )


def _rows(cfg: Voc12AugSource, listed: Tags, annotated: Tags, lists: Lists) -> list[TagRow]:
    """Return every image's tags; with a list, those of `val` may still come from annotations."""
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
