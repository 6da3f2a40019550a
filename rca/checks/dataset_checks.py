"""Checks across the files of a data set; each check returns its findings."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import combinations

from rca.checks.findings import Finding
from rca.checks.inspection import Inspection
from rca.data.voc_folder import ImageList, VocFolder


def dataset_findings(
    folder: VocFolder,
    chosen: Sequence[str],
    lists: Sequence[ImageList],
    found: Mapping[str, Inspection],
) -> list[Finding]:
    """Run every check of stage `index`.

    Args:
        folder: The data set.
        chosen: The classes that take part.
        lists: The list of each split, in the order of the splits.
        found: The inspections of all images on the lists, by image.
    """
    findings = class_findings(folder, chosen) + list_findings(lists) + tag_findings(folder, found)
    for inspection in found.values():
        findings += inspection.findings
    for names in lists:
        findings += gap_findings(folder, names)
    return findings + copy_findings(folder, lists, found)


def class_findings(folder: VocFolder, chosen: Sequence[str]) -> list[Finding]:
    """Find chosen classes that the data set does not have, or that are named twice."""
    known = ", ".join(folder.classes)
    faults = [
        f"{name!r} is no class of {folder.root / 'classes.txt'} ({known})"
        for name in chosen
        if name not in folder.classes
    ]
    faults += [f"{name!r} is named twice" for name in _repeated(chosen)]
    return [Finding("class", "index.classes", what) for what in faults]


def list_findings(lists: Sequence[ImageList]) -> list[Finding]:
    """Find empty lists, names that a list repeats, and names on two lists."""
    findings = [Finding("list", names.path, "is empty") for names in lists if not names.images]
    for names in lists:
        findings += [
            Finding("list", names.path, f"names {image} twice", (image,))
            for image in _repeated(names.images)
        ]
    for first, second in combinations(lists, 2):
        findings += [
            Finding(
                "leak_name",
                second.path,
                f"names {image} for {second.split}, {first.path} for {first.split}",
                (image,),
            )
            for image in sorted(set(first.images) & set(second.images))
        ]
    return findings


def tag_findings(folder: VocFolder, images: Iterable[str]) -> list[Finding]:
    """Find images without a row of tags, and tags that are no class, as far as both were read."""
    path = folder.root / "tags.csv"
    findings = []
    for image in images if folder.tags else ():
        if image not in folder.tags:
            findings.append(Finding("tags_missing", path, f"has no row for {image}", (image,)))
            continue
        findings += [
            Finding(
                "tag_unknown", path, f"{image} has the tag {tag!r}, which is no class", (image,)
            )
            for tag in folder.tags[image]
            if folder.classes and tag not in folder.classes
        ]
    return findings


def copy_findings(
    folder: VocFolder, lists: Sequence[ImageList], found: Mapping[str, Inspection]
) -> list[Finding]:
    """Find duplicate photographs under different names: the same bytes, or the same pixels.

    Equal pixels with different bytes mean that a file was rewritten losslessly. A recompressed JPEG
    has different pixels; `rca data doctor` warns of it because it looks the same.
    """
    groups: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for names in lists:
        for image in dict.fromkeys(names.images):
            if pixels := found[image].pixels:
                groups[pixels].append((names.split, image))
    findings = []
    for (split, image), (twin_split, twin) in _twins(groups.values()):
        same_bytes = found[image].digest == found[twin].digest
        check = "copy" if split == twin_split else "leak_bytes" if same_bytes else "leak_pixels"
        how = "is a copy of" if same_bytes else "has the pixels of"
        what = f"{how} {folder.image(twin)}, which is in {twin_split}"
        findings.append(Finding(check, folder.image(image), what, (image, twin)))
    return findings


def gap_findings(folder: VocFolder, names: ImageList) -> list[Finding]:
    """Find images without a mask or saliency map where others on their list have one."""
    images = list(dict.fromkeys(names.images))
    findings = []
    for check, what, find in (
        ("mask_gap", "mask", folder.mask),
        ("saliency", "saliency map", folder.saliency),
    ):
        lacking = [image for image in images if find(image) is None]
        if len(lacking) < len(images):
            # A published data set is complete or damaged; users draw as many masks as they have
            # time for.
            if check == "mask_gap" and (folder.source or {}).get("source") == "folder":
                check = "mask_part"
            lack = f"has no {what}, others in {names.split} have one"
            findings += [Finding(check, folder.image(image), lack, (image,)) for image in lacking]
    return findings


def _twins(
    groups: Iterable[Sequence[tuple[str, str]]],
) -> Iterator[tuple[tuple[str, str], tuple[str, str]]]:
    """Yield each (split, image) with an equal one before it, preferably of another split."""
    for group in groups:
        for place, (split, image) in enumerate(group):
            before = [entry for entry in group[:place] if entry[1] != image]
            if before:
                elsewhere = (entry for entry in before if entry[0] != split)
                yield (split, image), next(elsewhere, before[0])


def _repeated(names: Sequence[str]) -> list[str]:
    return [name for name, count in Counter(names).items() if count > 1]
