"""Stage `index`: the data set's folder, validated, as the one table that later stages read."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path

from rca.config import IndexSection
from rca.data.faults import (
    Inspection,
    class_faults,
    copy_faults,
    gap_faults,
    inspect,
    list_faults,
    refuse,
    tag_faults,
)
from rca.data.images import DataError
from rca.data.index import Index, Record, write_index
from rca.data.voc import ImageList, VocFolder, label_palette, label_values, read_list, read_voc
from rca.files import new_folder
from rca.progress import progress

log = logging.getLogger(__name__)


def run(cfg: IndexSection, *, data: Path, out: Path) -> None:
    """Check the VOC-like folder `data` and write its index to `out`.

    Training images without a tag of the chosen classes are left out.

    Raises:
        DataError: the folder cannot be used; all faults found are listed.
    """
    folder = read_voc(data)
    chosen = cfg.classes or list(folder.classes)
    lists = [
        read_list(data, "train", cfg.train_list, cfg.limit),
        read_list(data, "val", cfg.val_list, cfg.limit),
    ]
    images = list(dict.fromkeys(image for names in lists for image in names.images))
    found = {
        image: inspect(folder, image) for image in progress(images, len(images), "images checked")
    }
    refuse(data, _faults(folder, chosen, lists, found))

    records = [
        _record(folder, chosen, names.split, image, found[image])
        for names in lists
        for image in sorted(names.images)
    ]
    index = Index(
        root=data,
        classes=tuple(chosen),
        mask_values=label_values(folder.classes, chosen),
        palette=label_palette(folder.classes, chosen),
        records=tuple(record for record in records if record.tags or record.split != "train"),
        source=folder.source,
    )
    _report_untagged(data, len(lists[0].images), len(index.split("train")))
    with new_folder(out) as partial:
        write_index(partial, index)
    log.info("%s: images per class\n%s", out, counts_table(index))


def counts_table(index: Index) -> str:
    """Images per split and class, as aligned text."""
    splits = [index.split(name) for name in ("train", "val")]
    rows = [("", "train", "val"), ("images", *(str(len(records)) for records in splits))]
    rows += [
        (name, *(str(sum(name in record.tags for record in records)) for records in splits))
        for name in index.classes
    ]
    width = max(len(row[0]) for row in rows)
    return "\n".join(f"  {name:{width}} {train:>7} {val:>7}" for name, train, val in rows)


def _faults(
    folder: VocFolder,
    chosen: list[str],
    lists: list[ImageList],
    found: Mapping[str, Inspection],
) -> list[str]:
    faults = class_faults(folder, chosen) + list_faults(lists) + tag_faults(folder, found)
    for inspection in found.values():
        faults += inspection.faults
    for names in lists:
        faults += gap_faults(folder, names)
    return faults + copy_faults(folder, lists, found)


def _record(
    folder: VocFolder, chosen: list[str], split: str, image: str, found: Inspection
) -> Record:
    assert found.size is not None, "an undecodable image is a fault, refused above"
    width, height = found.size
    return Record(
        image=image,
        split=split,
        file=folder.image(image),
        mask=folder.mask(image),
        saliency=folder.saliency(image),
        width=width,
        height=height,
        tags=tuple(name for name in chosen if name in folder.tags[image]),
    )


def _report_untagged(data: Path, listed: int, kept: int) -> None:
    if not kept:
        raise DataError(
            f"{data}: no training image has a tag of index.classes; choose other classes"
        )
    if kept < listed:
        log.info(
            "%d of %d training images hold none of the classes and are left out",
            listed - kept,
            listed,
        )
