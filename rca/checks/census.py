"""The census of a data set: images of each class by tags, pixels of each class by masks."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

from rca.checks.diagnosis import Diagnosis
from rca.checks.findings import CHECKS, ON_IMPORT
from rca.config import IGNORE
from rca.data.voc_folder import ImageList

BACKGROUND, IGNORED = "background", "255: ignored"


@dataclass(frozen=True)
class SplitCensus:
    """The counts of one split.

    Attributes:
        split: The name of the split.
        images: The number of images on its list.
        masks: The number of images with a mask whose values can be read.
        untagged: The number of images without tags.
        tagged: The number of images with each tag, by class.
        pixels: The number of pixels in all masks, by class, background or ignored.
    """

    split: str
    images: int
    masks: int
    untagged: int
    tagged: dict[str, int]
    pixels: dict[str, int]


def census(diagnosis: Diagnosis) -> list[SplitCensus]:
    """Count every split, in the order of the lists."""
    return [_count(diagnosis, names) for names in diagnosis.lists]


def class_names(diagnosis: Diagnosis) -> list[str]:
    """Return the data set's classes in order; without `classes.txt`, the tags in use, sorted."""
    return list(diagnosis.folder.classes) or sorted(
        {tag for tags in diagnosis.folder.tags.values() for tag in tags}
    )


def as_json(diagnosis: Diagnosis) -> dict[str, Any]:
    """Return counts and findings for programs, with paths relative to the data set if possible."""
    found = Counter(finding.check for finding in diagnosis.findings)
    return {
        "root": diagnosis.root.as_posix(),
        "errors": diagnosis.errors,
        "warnings": diagnosis.warnings,
        "classes": class_names(diagnosis),
        "splits": {
            counts.split: {
                "images": counts.images,
                "masks": counts.masks,
                "untagged": counts.untagged,
                "tagged": counts.tagged,
                "pixels": counts.pixels,
            }
            for counts in census(diagnosis)
        },
        "checks": {
            name: {
                "title": check.title,
                "severity": check.severity,
                "findings": None if name in diagnosis.skipped else found[name],
            }
            for name, check in CHECKS.items()
            if diagnosis.raw or name not in ON_IMPORT
        },
        "findings": [
            {
                "severity": finding.severity,
                "check": finding.check,
                "file": within(diagnosis, finding.file),
                "images": list(finding.images),
                "what": within(diagnosis, finding.what),
                "fix": finding.fix,
            }
            for finding in diagnosis.findings
        ],
    }


def within(diagnosis: Diagnosis, text: object) -> str:
    """Remove the data set's own folder from the paths in `text`."""
    return str(text).replace(f"{diagnosis.root}/", "")


def _count(diagnosis: Diagnosis, names: ImageList) -> SplitCensus:
    folder = diagnosis.folder
    images = list(dict.fromkeys(names.images))
    tagged = Counter(tag for image in images for tag in set(folder.tags.get(image, ())))
    values: Counter[int] = Counter()
    masks = 0
    for image in images:
        counted = diagnosis.found[image].values
        if counted is not None:
            masks += 1
            values.update(counted)
    titles = {0: BACKGROUND, **dict(enumerate(folder.classes, start=1)), IGNORE: IGNORED}
    return SplitCensus(
        split=names.split,
        images=len(images),
        masks=masks,
        untagged=sum(not folder.tags.get(image) for image in images),
        tagged={name: tagged[name] for name in class_names(diagnosis)},
        pixels={title: values[value] for value, title in titles.items()},
    )
