"""Source `coco14`: COCO 2014 with 80 classes, its instances as masks.

The training and validation sets are the 82,783 and 40,504 images of 2014. Classes come from the
annotations in the order of their ids; spaces in their names become `_`, because tags are separated
by spaces. An image's tags are the classes of its annotations, crowd regions included. Images
without annotations are kept, without tags.
"""

from __future__ import annotations

import json
import logging
from collections import defaultdict
from functools import partial
from pathlib import Path

from rca.config import Coco14Source
from rca.data.images import DataError
from rca.runtime.files import link, new_folder, write_json
from rca.runtime.pool import ordered_map, processes_for
from rca.runtime.progress import progress
from rca.sources import remote_files
from rca.sources.coco_masks import Instance, Sheet, write_mask
from rca.sources.fetch import fetch
from rca.sources.texts import write_texts
from rca.sources.unpacking import contents

log = logging.getLogger(__name__)

SPLITS = {"train": remote_files.COCO14_TRAIN, "val": remote_files.COCO14_VAL}


def bring(cfg: Coco14Source, out: Path) -> None:
    """Build `out` from COCO's photographs and annotations, replacing what was there.

    Args:
        cfg: The section `download`.
        out: The folder of the data set.

    Raises:
        DataError: A file is missing, is not the expected one, or cannot be read; `out` is
            untouched.
    """
    archives = out.parent / "archives"
    classes: tuple[str, ...] = ()
    lists, rows = {}, []
    with new_folder(out) as partial_out:
        for split, photographs in SPLITS.items():
            annotations = _annotations(cfg, split, archives)
            names, sheets = read_instances(annotations, f"instances_{split}2014.json")
            if classes and names != classes:
                raise DataError("COCO's two annotation files name other classes; fetch them again")
            classes = names
            lists[split] = [sheet.image for sheet in sheets]
            rows += [(sheet.image, split, tags_of(sheet, classes)) for sheet in sheets]
            _bring_photographs(cfg, split, photographs, lists[split], archives, partial_out)
            _write_masks(sheets, partial_out)
        write_texts(partial_out, classes, lists, rows)
        note = {"source": cfg.source, "overlaps": "smaller area on top", "crowds": "255, below"}
        write_json(partial_out / "source.json", note)
    untagged = sum(not tags for _, _, tags in rows)
    log.info("%s: %d images, %d without annotations", out, len(rows), untagged)


def read_instances(text: bytes, name: str) -> tuple[tuple[str, ...], list[Sheet]]:
    """Read the class names in the order of their ids, and the images in the order of the file.

    Raises:
        DataError: The text is not COCO's instance annotations.
    """
    try:
        content = json.loads(text)
        categories = sorted(content["categories"], key=lambda category: category["id"])
        values = {category["id"]: value for value, category in enumerate(categories, start=1)}
        instances: dict[int, list[Instance]] = defaultdict(list)
        for one in content["annotations"]:
            instances[one["image_id"]].append(
                Instance(
                    number=one["id"],
                    value=values[one["category_id"]],
                    area=one["area"],
                    crowd=bool(one["iscrowd"]),
                    outline=one["segmentation"],
                )
            )
        sheets = [
            Sheet(
                image=Path(image["file_name"]).stem,
                width=image["width"],
                height=image["height"],
                instances=tuple(instances[image["id"]]),
            )
            for image in content["images"]
        ]
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{name}: is not COCO's instance annotations ({error!r}); fetch it again"
        ) from None
    return tuple("_".join(category["name"].split()) for category in categories), sheets


def tags_of(sheet: Sheet, classes: tuple[str, ...]) -> list[str]:
    """Return the classes that the image is annotated with, crowds included, in class order."""
    return [classes[value - 1] for value in sorted({one.value for one in sheet.instances})]


def _annotations(cfg: Coco14Source, split: str, archives: Path) -> bytes:
    """Return the text of an annotation file: the user's, or the one in COCO's archive."""
    name = f"annotations/instances_{split}2014.json"
    if cfg.have and (cfg.have / name).is_file():
        return (cfg.have / name).read_bytes()
    archive = fetch(remote_files.COCO14_ANNOTATIONS, archives, cfg.have)
    for _, content in contents(archive, lambda member: member == name):
        return content
    raise DataError(f"{archive}: holds no {name}; fetch it again")


def _bring_photographs(
    cfg: Coco14Source,
    split: str,
    file: remote_files.RemoteFile,
    images: list[str],
    archives: Path,
    out: Path,
) -> None:
    """Link the user's photographs, or extract them from COCO's archive."""
    folder = out / "JPEGImages"
    folder.mkdir(exist_ok=True)
    missing = set(images)
    own = cfg.have / f"{split}2014" if cfg.have else None
    if own and own.is_dir():
        place = own
        for image in progress(images, len(images), f"photographs of {split},"):
            if (own / f"{image}.jpg").is_file():
                link(own / f"{image}.jpg", folder / f"{image}.jpg")
                missing.discard(image)
    else:
        place = fetch(file, archives, cfg.have)
        wanted = {f"{split}2014/{image}.jpg": image for image in images}
        found = contents(place, wanted.__contains__)
        for name, content in progress(found, len(images), f"photographs of {split},"):
            (folder / f"{wanted[name]}.jpg").write_bytes(content)
            missing.discard(wanted[name])
    if missing:
        raise DataError(
            f"{place}: lacks {len(missing)} of the {len(images)} images of {split}, such as "
            f"{min(missing)}.jpg; complete it"
        )


def _write_masks(sheets: list[Sheet], out: Path) -> None:
    folder = out / "SegmentationClassAug"
    folder.mkdir(exist_ok=True)
    items = ((sheet.image, sheet) for sheet in sheets)
    work = partial(write_mask, folder=folder)
    for _ in progress(ordered_map(work, items, processes_for(len(sheets))), len(sheets), "masks"):
        pass
