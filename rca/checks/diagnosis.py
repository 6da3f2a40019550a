"""`rca data doctor`: all checks of stage `index`, and what else a person should look at.

Leaks by content are files with the same bytes, files with the same decoded pixels (a photograph
rewritten losslessly), and photographs that look the same (recompressed, rescaled or mirrored).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

from rca.checks.dataset_checks import dataset_findings
from rca.checks.findings import CHECKS, ON_IMPORT, Finding, of_error
from rca.checks.inspection import Inspection, inspect_all
from rca.checks.likeness import SAME, nearest
from rca.data.images import DataError
from rca.data.voc_folder import (
    ImageList,
    VocFolder,
    list_path,
    read_classes,
    read_list,
    read_source,
    read_tags,
)

FOLDERS = ("JPEGImages", "SegmentationClassAug", "saliency")

CLASS_CHECKS = {"class", "tag_unknown", "mask_value", "tag_without_pixels", "pixels_without_tag"}
TAG_CHECKS = CLASS_CHECKS - {"class", "mask_value"} | {"tags_missing", "untagged"}


@dataclass(frozen=True)
class Diagnosis:
    """The contents of a data set, and what is wrong with them.

    Attributes:
        folder: The data set, without classes or tags if their file could not be read.
        lists: The list of each split, if it could be read.
        found: The inspections, by image.
        findings: The findings, errors first, in the order of `CHECKS`.
        raw: The user's folder, if `folder` was laid out from it for this diagnosis.
    """

    folder: VocFolder
    lists: list[ImageList]
    found: dict[str, Inspection]
    findings: list[Finding]
    raw: Path | None = None

    @property
    def root(self) -> Path:
        """The folder as the user knows it."""
        return self.raw or self.folder.root

    @property
    def skipped(self) -> list[str]:
        """The checks that could not be made, because classes or tags are missing."""
        unknown = set() if self.folder.classes else CLASS_CHECKS
        unknown = unknown if self.folder.tags else unknown | TAG_CHECKS
        return [name for name in CHECKS if name in unknown]

    @property
    def clean(self) -> list[str]:
        """The checks that were made and found nothing."""
        other = {finding.check for finding in self.findings}.union(self.skipped)
        if self.raw is None:
            other |= ON_IMPORT.keys()
        return [name for name in CHECKS if name not in other]

    @property
    def errors(self) -> int:
        """The number of findings that stop stage `index`."""
        return sum(finding.severity == "error" for finding in self.findings)

    @property
    def warnings(self) -> int:
        """The number of findings that do not stop stage `index`."""
        return len(self.findings) - self.errors


def diagnose(
    root: Path,
    splits: Mapping[str, str],
    chosen: Sequence[str] | None = None,
    processes: int = 0,
) -> Diagnosis:
    """Check every file that a list of the data set names, and find files that no list names.

    Args:
        root: A VOC-like folder.
        splits: The name of the list of each split.
        chosen: The classes that take part; None takes all.
        processes: The maximum number of processes that open files; 0 uses every core.

    Raises:
        DataError: There is no such folder.
    """
    if not root.is_dir():
        raise DataError(f"{root}: no such folder; run `rca download` first, or correct the path")
    folder, lists, findings = _read_texts(root, splits)
    found = inspect_all(folder, [image for names in lists for image in names.images], processes)
    findings += dataset_findings(folder, chosen or folder.classes, lists, found)
    findings += mask_and_tag_findings(folder, found)
    findings += likeness_findings(folder, lists, found)
    findings += unlisted_findings(root, lists)
    return Diagnosis(folder, lists, found, in_order(findings))


def in_order(findings: Iterable[Finding]) -> list[Finding]:
    """Sort findings: errors first, then in the order of `CHECKS`."""
    order = {check: place for place, check in enumerate(CHECKS)}
    return sorted(findings, key=lambda found: (found.severity != "error", order[found.check]))


def mask_and_tag_findings(folder: VocFolder, found: Mapping[str, Inspection]) -> list[Finding]:
    """Find images without tags, tags without pixels in the mask, and pixels without a tag."""
    findings = []
    for image, inspection in found.items():
        tags = folder.tags.get(image)
        if tags is None or inspection.size is None:
            continue
        if not tags:
            findings.append(Finding("untagged", folder.image(image), "has no tags", (image,)))
        if inspection.values is None or not folder.classes:
            continue
        labels = (value for value in inspection.values if 0 < value <= len(folder.classes))
        drawn = [folder.classes[value - 1] for value in sorted(labels)]
        mask = folder.mask(image) or folder.image(image)
        findings += [
            Finding("tag_without_pixels", mask, f"has no pixel of the tag {tag!r}", (image,))
            for tag in tags
            if tag in folder.classes and tag not in drawn
        ]
        findings += [
            Finding("pixels_without_tag", mask, f"has pixels of {name!r}, no tag of it", (image,))
            for name in drawn
            if name not in tags
        ]
    return findings


def likeness_findings(
    folder: VocFolder, lists: Sequence[ImageList], found: Mapping[str, Inspection]
) -> list[Finding]:
    """Find photographs that look like one of another split, but have different pixels.

    Those with the same pixels are errors already. Each photograph is compared with the most similar
    one of every earlier split.
    """
    findings = []
    for first, second in combinations(lists, 2):
        before, after = (
            {image: looks for image in names.images if (looks := found[image].looks) is not None}
            for names in (first, second)
        )
        twins = list(before)
        matches = nearest(list(after.values()), list(before.values())) if before else ()
        for image, (place, differ, mirrored) in zip(after, matches, strict=False):
            twin = twins[place]
            if differ > SAME or found[image].pixels == found[twin].pixels:
                continue
            how = "looks like the mirror image of" if mirrored else "looks like"
            what = f"{how} {folder.image(twin)}, which is in {first.split}"
            findings.append(Finding("leak_looks", folder.image(image), what, (image, twin)))
    return findings


def unlisted_findings(root: Path, lists: Sequence[ImageList]) -> list[Finding]:
    """Find images, masks and saliency maps that no list of the data set names."""
    known = {image for names in lists for image in names.images}
    for path in list_path(root, "any").parent.glob("*.txt"):
        known.update(path.read_text(encoding="utf-8").split())
    return [
        Finding("unlisted", path, "is named by no list", (path.stem,))
        for name in FOLDERS
        for path in sorted((root / name).glob("*"))
        if path.stem not in known
    ]


def _read_texts(
    root: Path, splits: Mapping[str, str]
) -> tuple[VocFolder, list[ImageList], list[Finding]]:
    """Read classes, tags and lists; each that cannot be read becomes a finding."""
    classes: tuple[str, ...] = ()
    tags, lists, findings = {}, [], []
    try:
        classes = read_classes(root)
    except DataError as error:
        findings.append(of_error("layout", root / "classes.txt", error))
    try:
        tags = read_tags(root / "tags.csv")
    except DataError as error:
        findings.append(of_error("layout", root / "tags.csv", error))
    for split, name in splits.items():
        try:
            lists.append(read_list(root, split, name))
        except DataError as error:
            findings.append(of_error("layout", list_path(root, name), error))
    return VocFolder(root, classes, tags, read_source(root)), lists, findings
