"""What a user's folder says of its photographs: tags and splits, from a table or from sub-folders.

A table is `tags.csv` with the columns image (a path within the folder), tags and maybe split. Tags
are set apart by `;`, by `,` where no cell of the column holds a `;`, or by spaces where none holds
either. Without a table, the photographs of class c lie in `c/`, or in `train/c/` and `val/c/`; one
that lies in the folders of several classes, the same bytes, has all their tags.
"""

from __future__ import annotations

import csv
import hashlib
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from rca.data.archive import sha256_of
from rca.data.images import DataError

MASKS = "masks"
SPLITS = ("train", "val", "test")
SUFFIXES = {
    ".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".avif",
    ".heic", ".heif",
}  # fmt: skip


@dataclass(frozen=True)
class Entry:
    """A photograph: its path within the folder, its tags, and its split where one is given."""

    path: Path
    tags: tuple[str, ...]
    split: str | None

    @property
    def image(self) -> str:
        """Its name in the data set: the path without suffix, `/` and spaces as `_`."""
        return "_".join("_".join(self.path.with_suffix("").parts).split())


def read_entries(root: Path) -> list[Entry]:
    """The photographs of the folder `root`, in the order of their paths.

    Raises:
        DataError: there is no such folder, its table is faulty, or it holds no photograph.
    """
    if not root.is_dir():
        raise DataError(f"{root}: no such folder; correct download.folder")
    table = root / "tags.csv"
    entries = _of_table(table) if table.is_file() else _of_folders(root)
    if not entries:
        raise DataError(
            f"{root}: holds no photograph; add `tags.csv`, or a sub-folder for each class"
        )
    missing = [entry.path for entry in entries if not (root / entry.path).is_file()]
    if missing:
        raise DataError(
            f"{table}: names {len(missing)} files that {root} does not hold, such as {missing[0]}; "
            "paths are relative to the folder"
        )
    splits = {entry.split for entry in entries}
    if None in splits and len(splits) > 1:
        raise DataError(f"{table}: some rows have a split and some have none; fill all, or none")
    return _refuse_clashes(root, sorted(_merged(root, entries), key=lambda entry: entry.path))


def with_splits(entries: Sequence[Entry], share: float, seed: int) -> list[Entry]:
    """The entries, each in `train` or `val`.

    Photographs of the same tags are shuffled by the seed, then every (1/share)-th goes to `val`, so
    that both splits have the classes in the same shares.
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


def find_mask(root: Path, path: Path) -> Path | None:
    """`masks/<path>.png`, if it is there; for photographs in `images/`, also without that part."""
    names = [path.with_suffix(".png")]
    if path.parts[0] == "images":
        names.append(Path(*path.parts[1:]).with_suffix(".png"))
    found = (root / MASKS / name for name in names)
    return next((mask for mask in found if mask.is_file()), None)


def _draw(entry: Entry, seed: int) -> str:
    return hashlib.sha256(f"{seed} {entry.image}".encode()).hexdigest()


def _of_table(table: Path) -> list[Entry]:
    try:
        with table.open(newline="", encoding="utf-8-sig") as file:
            rows = list(csv.DictReader(file))
    except UnicodeDecodeError:
        raise DataError(f"{table}: is not in UTF-8; save it so") from None
    columns = set(rows[0]) if rows else set()
    if not {"image", "tags"} <= columns:
        raise DataError(f"{table}: needs a row for each image, under `image` and `tags`")
    cells = [row["tags"] or "" for row in rows]
    separator = next((mark for mark in ";," if any(mark in cell for cell in cells)), None)
    entries = []
    for line, (row, cell) in enumerate(zip(rows, cells, strict=True), start=2):
        split = (row.get("split") or "").strip() or None
        if not row["image"] or (split and split not in SPLITS):
            raise DataError(
                f"{table}: line {line} must have an image, and train, val, test or nothing as split"
            )
        tags = ("_".join(tag.split()) for tag in cell.split(separator))
        kept = dict.fromkeys(tag for tag in tags if tag)
        entries.append(Entry(Path(row["image"].strip()), tuple(kept), split))
    return entries


def _of_folders(root: Path) -> list[Entry]:
    folders = _visible(root)
    if folders and {folder.name for folder in folders} <= {*SPLITS, MASKS}:
        return [
            entry
            for folder in folders
            if folder.name in SPLITS
            for entry in _of_classes(root, _visible(folder), folder.name)
        ]
    return _of_classes(root, [folder for folder in folders if folder.name != MASKS], None)


def _of_classes(root: Path, folders: Iterable[Path], split: str | None) -> list[Entry]:
    return [
        Entry(path.relative_to(root), ("_".join(folder.name.split()),), split)
        for folder in folders
        for path in sorted(folder.rglob("*"))
        if path.suffix.lower() in SUFFIXES and not path.name.startswith(".")
    ]


def _visible(folder: Path) -> list[Path]:
    return sorted(
        path for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")
    )


def _merged(root: Path, entries: Iterable[Entry]) -> list[Entry]:
    """One entry for files of the same bytes in the same split, with the tags of all."""
    groups: dict[tuple[str | None, str], list[Entry]] = defaultdict(list)
    for entry in entries:
        groups[entry.split, sha256_of(root / entry.path)].append(entry)
    return [
        replace(group[0], tags=tuple(dict.fromkeys(tag for one in group for tag in one.tags)))
        for group in groups.values()
    ]


def _refuse_clashes(root: Path, entries: list[Entry]) -> list[Entry]:
    seen: dict[str, Path] = {}
    for entry in entries:
        if entry.image in seen:
            raise DataError(
                f"{root}: {seen[entry.image]} and {entry.path} would both be named {entry.image}; "
                "rename one"
            )
        seen[entry.image] = entry.path
    return entries
