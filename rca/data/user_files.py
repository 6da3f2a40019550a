"""The files in a user's folder: photographs, masks and others, and how to find them by name.

Hidden files, and the folders in which operating systems keep metadata, are skipped.
"""

from __future__ import annotations

import hashlib
import os
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

MASKS = "masks"
SUFFIXES = {
    ".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".avif",
    ".heic", ".heif",
}  # fmt: skip
UNREAD = {  # image formats that no library used here can open
    ".3fr", ".arw", ".cr2", ".cr3", ".dng", ".erf", ".jxl", ".nef", ".nrw", ".orf", ".pef", ".psd",
    ".raf", ".raw", ".rw2", ".srw", ".svg", ".xcf",
}  # fmt: skip
SYSTEM = {"__macosx", "@eadir", "$recycle.bin", "lost+found"}


@dataclass(frozen=True)
class Listing:
    """The contents of a folder, as sorted paths relative to it.

    Attributes:
        root: The folder.
        photographs: The files with the suffix of a supported image format, outside `masks/`.
        unread: The images in unsupported formats, outside `masks/`.
        masks: The files below `masks/`, whose name may be in upper or lower case.
        others: The tables and other files in the folder itself.
    """

    root: Path
    photographs: list[Path]
    unread: list[Path]
    masks: list[Path]
    others: list[Path]


def list_folder(root: Path) -> Listing:
    """List the files below `root`, following links to folders."""
    found: dict[str, list[Path]] = defaultdict(list)
    for path in _files(root):
        suffix = path.suffix.lower()
        if len(path.parts) > 1 and path.parts[0].lower() == MASKS:
            found["masks"].append(path)
        elif suffix in SUFFIXES:
            found["photographs"].append(path)
        elif suffix in UNREAD:
            found["unread"].append(path)
        elif len(path.parts) == 1:
            found["others"].append(path)
    return Listing(
        root, *(sorted(found[kind]) for kind in ("photographs", "unread", "masks", "others"))
    )


def seen(root: Path) -> dict[str, int | str]:
    """Count the files below `root` and digest their names, sizes and modification times.

    The digest changes when a file is added, removed, renamed or edited. No file is read.

    Returns:
        `files`, the count, and `digest`, a SHA-256.
    """
    digest, count = hashlib.sha256(), 0
    for path in sorted(_files(root)):
        try:
            state = (root / path).stat()
        except OSError:
            continue  # a broken link, which `download` reports
        count += 1
        digest.update(os.fsencode(f"{path.as_posix()}\0{state.st_size}\0{state.st_mtime_ns}\n"))
    return {"files": count, "digest": digest.hexdigest()}


def name_key(text: str) -> str:
    """Normalise a path's spelling: upper and lower case, slashes, and composed accents."""
    path = unicodedata.normalize("NFC", text.strip().replace("\\", "/")).casefold()
    return path.removeprefix("./").strip("/")


def without_suffix(key: str) -> str:
    """Remove an image's suffix from a key; any other dot is part of the name."""
    stem, dot, suffix = key.rpartition(".")
    return stem if dot + suffix in SUFFIXES and stem else key


class Lookup:
    """A lookup of paths by the names that people write, with or without folder and suffix."""

    def __init__(self, paths: Iterable[Path]) -> None:
        self._whole: dict[str, list[Path]] = defaultdict(list)
        self._stems: dict[str, list[Path]] = defaultdict(list)
        self._bare: dict[str, list[Path]] = defaultdict(list)
        self._exact = {path.as_posix(): path for path in paths}
        for path in self._exact.values():
            key = name_key(path.as_posix())
            self._whole[key].append(path)
            self._stems[without_suffix(key)].append(path)
            self._bare[without_suffix(key).rpartition("/")[2]].append(path)

    def by_path(self, text: str) -> list[Path]:
        """Find the paths that `text` names in full, relative to the folder."""
        if text in self._exact:
            return [self._exact[text]]
        key = name_key(text)
        return self._whole.get(key) or self._stems.get(key) or []

    def by_name(self, text: str) -> list[Path]:
        """Find the paths with the file name in `text`, whatever its folder and suffix.

        Where `text` names paths in full, but for the suffix, these alone are returned.
        """
        key = without_suffix(name_key(text))
        return self._stems.get(key) or self._bare.get(key.rpartition("/")[2], [])


def _files(root: Path) -> Iterator[Path]:
    entered: set[str] = set()
    for folder, names, files in os.walk(root, followlinks=True):
        real = os.path.realpath(folder)
        if real in entered:  # visited before, such as through a link to a parent folder
            names.clear()
            continue
        entered.add(real)
        names[:] = [name for name in names if _counts(name)]
        for name in filter(_counts, files):
            yield Path(folder, name).relative_to(root)


def _counts(name: str) -> bool:
    return not name.startswith(".") and name.lower() not in SYSTEM
