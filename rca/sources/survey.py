"""The survey of a user's folder: the tags, splits and masks of its photographs.

A table is `tags.csv` with the columns image, tags and optionally split (see `tag_table`). Without
a table, the photographs of class c lie in `c/`, or in `train/c/` and `val/c/`. A photograph that
lies in the folders of several classes, byte for byte the same, has all their tags. In either case,
masks lie in `masks/`.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path

from rca.checks.findings import Finding
from rca.data.checksums import sha256_of
from rca.data.images import DataError
from rca.data.user_files import MASKS, Listing, Lookup, list_folder
from rca.sources.class_names import name_findings, share_findings
from rca.sources.tag_table import clean
from rca.sources.tagged import SHAPES, Entry, find_table, of_folders, of_table

LONGEST = 200  # bytes of a name; file systems allow 255, and temporary names are longer


@dataclass(frozen=True)
class Survey:
    """The contents of a folder, before any photograph is opened.

    Attributes:
        entries: The photographs that can be used, in the order of their paths.
        classes: The classes, in the order of their mask values.
        given: Whether the user gave the splits.
        findings: What is wrong.
    """

    entries: list[Entry]
    classes: tuple[str, ...]
    given: bool
    findings: list[Finding]


def survey(root: Path, share: float, seed: int) -> Survey:
    """Survey the folder `root`.

    Args:
        root: The user's folder.
        share: The share of the photographs that go to validation, if no split is given.
        seed: The seed of the choice of these photographs.

    Raises:
        DataError: There is no such folder, its table is faulty, or it holds no photograph.
    """
    if not root.is_dir():
        what = "is a file; unpack it, and name the folder" if root.is_file() else "no such folder"
        raise DataError(f"{root}: {what}; correct download.folder")
    listing = list_folder(root)
    table = find_table(listing)
    entries, findings = of_table(listing, table) if table else of_folders(listing)
    where = root / table if table else root
    findings += [
        Finding("photo_unread", root / path, f"is in a format that is not read, {path.suffix}")
        for path in listing.unread
    ]
    if not entries and not findings:
        raise DataError(f"{root}: holds no photograph; {SHAPES}")
    entries = _sound(root, entries, findings)
    splits = {entry.split for entry in entries}
    if None in splits and len(splits) > 1:
        raise DataError(f"{where}: some rows have a split and some have none; fill all, or none")
    given = None not in splits
    if not given:
        entries = with_splits(entries, share, seed)
    entries = _with_masks(listing, entries, findings)
    classes = _classes(root, where, entries, findings)
    findings += share_findings(where, ((entry.split, entry.tags) for entry in entries))
    return Survey(entries, classes, given, findings)


def with_splits(entries: Sequence[Entry], share: float, seed: int) -> list[Entry]:
    """Assign each entry to `train` or `val`.

    Photographs with the same tags are shuffled by the seed, and then every (1/share)-th goes to
    `val`, so that both splits have the classes in the same proportions.
    """
    order = sorted(
        range(len(entries)), key=lambda place: (entries[place].tags, _draw(entries[place], seed))
    )
    chosen = {
        place
        for turn, place in enumerate(order)
        if int((turn + 1) * share + 0.5) > int(turn * share + 0.5)
    }
    return [
        replace(entry, split="val" if place in chosen else "train")
        for place, entry in enumerate(entries)
    ]


def _draw(entry: Entry, seed: int) -> str:
    return hashlib.sha256(f"{seed} {entry.image}".encode()).hexdigest()


def _sound(root: Path, entries: Sequence[Entry], findings: list[Finding]) -> list[Entry]:
    """Return the usable entries, with duplicate files merged; add a finding for each other one."""
    usable = []
    for entry in entries:
        path = root / entry.path
        if not path.is_file():
            what = "is a link to nothing" if path.is_symlink() else "is no file"
            findings.append(Finding("photo_unread", path, what))
        elif (length := _bytes(entry.image)) is None:
            findings.append(Finding("name_odd", path, "has a name that is not in UTF-8"))
        elif length > LONGEST:
            what = f"would get a name of {length} bytes; at most {LONGEST} are stored"
            findings.append(Finding("name_odd", path, what))
        else:
            usable.append(entry)
    named: dict[str, Entry] = {}
    for entry in sorted(_merged(root, usable), key=lambda entry: entry.path):
        twin = named.setdefault(entry.image, entry)
        if twin is entry:
            continue
        if twin.path == entry.path:
            what = f"is in {twin.split} and in {entry.split}"
            findings.append(Finding("split_twice", root / entry.path, what))
        else:
            what = f"and {twin.path} would both be named {entry.image}"
            findings.append(Finding("name_clash", root / entry.path, what))
    return list(named.values())


def _bytes(name: str) -> int | None:
    try:
        return len(name.encode())
    except UnicodeEncodeError:
        return None


def _merged(root: Path, entries: Iterable[Entry]) -> list[Entry]:
    """Merge the entries of identical files in the same split into one, with the tags of all."""
    groups: dict[tuple[str | None, str], list[Entry]] = defaultdict(list)
    digests: dict[Path, str] = {}
    for entry in entries:
        if entry.path not in digests:
            empty = not (root / entry.path).stat().st_size
            # Empty files are not copies of one photograph; each gets its own finding later.
            digests[entry.path] = entry.image if empty else sha256_of(root / entry.path)
        groups[entry.split, digests[entry.path]].append(entry)
    return [
        replace(group[0], tags=tuple(dict.fromkeys(tag for one in group for tag in one.tags)))
        for group in groups.values()
    ]


def _with_masks(listing: Listing, entries: Sequence[Entry], findings: list[Finding]) -> list[Entry]:
    """Match masks to entries: `masks/<path>.png`, or any mask of the same name if it is unique.

    For photographs in `images/`, that part of the path may be left out.
    """
    inner = {Path(*path.parts[1:]): path for path in listing.masks}
    pngs = [path for path in inner if path.suffix.lower() == ".png"]
    lookup = Lookup(pngs)
    bare = Counter(entry.path.stem.casefold() for entry in entries)
    matched = []
    for entry in entries:
        stem = entry.path.with_suffix("")
        names = [stem, Path(*stem.parts[1:])] if stem.parts[0] == "images" else [stem]
        found = next(filter(None, (lookup.by_path(name.as_posix()) for name in names)), [])
        if not found and bare[stem.name.casefold()] == 1:
            found = lookup.by_name(stem.name)
        mask = listing.root / inner[found[0]] if len(found) == 1 else None
        matched.append(replace(entry, mask=mask))
    used = {entry.mask for entry in matched}
    for path in inner.values():
        if listing.root / path not in used and path.name.lower() != "classes.txt":
            what = "belongs to no photograph" if path.suffix.lower() == ".png" else "is no PNG"
            findings.append(Finding("mask_stray", listing.root / path, what))
    return matched


def _classes(
    root: Path, where: Path, entries: Sequence[Entry], findings: list[Finding]
) -> tuple[str, ...]:
    """Return the classes in mask-value order: those of `classes.txt`, or else all tags, sorted.

    Raises:
        DataError: `classes.txt` is faulty; there are masks, but nothing says what their values
            mean; or no photograph has a tag.
    """
    counts = Counter(tag for entry in entries for tag in entry.tags)
    files = [
        path for path in (root / "classes.txt", root / MASKS / "classes.txt") if path.is_file()
    ]
    if len(files) == 2 and files[0].read_bytes() != files[1].read_bytes():
        raise DataError(f"{files[0]}: differs from {files[1]}; keep one of them")
    if files:
        classes = _read_classes(files[0])
        findings += name_findings(files[0], {name: counts[name] for name in classes})
        unknown = {name: count for name, count in counts.items() if name not in classes}
        for name, count in sorted(unknown.items()):
            close = get_close_matches(name, classes, 1, 0.7)
            hint = f"; is it {close[0]!r}?" if close else ""
            what = f"the tag {name!r} ({count}) is not in {files[0].name}{hint}"
            findings.append(Finding("tag_unknown", where, what))
        return classes
    if any(entry.mask for entry in entries):
        raise DataError(
            f"{root / 'classes.txt'}: no such file; masks need it: its line v names the class of "
            "mask value v, and 0 is the background, which has no line"
        )
    if not counts and entries:
        raise DataError(f"{root}: no photograph has a tag; fill the column `tags` of tags.csv")
    findings += name_findings(where, dict(sorted(counts.items())))
    return tuple(sorted(counts))


def _read_classes(path: Path) -> tuple[str, ...]:
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError:
        raise DataError(f"{path}: not UTF-8; save it as UTF-8") from None
    classes = tuple(name for name in map(clean, lines) if name)
    if not classes or len(set(classes)) < len(classes):
        raise DataError(f"{path}: must name each class once, one a line")
    return classes
