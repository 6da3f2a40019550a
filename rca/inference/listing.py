"""The photographs that arguments name, and the name of each in the output.

A photograph is named by its path without suffix, relative to the folder that was given or, if it
was itself given by name, to the deepest folder that holds all such photographs. No name therefore
leaves the output folder, however the photograph was reached.
"""

from __future__ import annotations

import glob
import hashlib
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from rca.config import ConfigError
from rca.data.images import DataError
from rca.data.user_files import SUFFIXES

LONGEST = 180  # bytes of a name's last part; file systems allow 255, and temporary names are longer


@dataclass(frozen=True)
class Listed:
    """A photograph to segment.

    Attributes:
        file: The path by which it was reached.
        place: The path below the folder that names are relative to, with `/`.
        name: The name in the output: `place` without suffix, with eight more digits if that would
            clash or be too long.
    """

    file: Path
    place: str
    name: str


def list_photographs(arguments: Sequence[str], out: Path) -> list[Listed]:
    """List the photographs that `arguments` name, each once, in their order, folders sorted.

    Args:
        arguments: The files; folders, which are searched recursively; glob patterns; and text
            files (`.txt`) with one path per line, relative to the folder of the text file.
        out: The folder that is left out of the search: it holds the masks of an earlier run.

    Raises:
        ConfigError: An argument names nothing.
        DataError: A list is not readable as text, or two photographs would get the same name.
    """
    found: dict[str, tuple[Path, str | None]] = {}  # absolute path → file, folder it was found in
    for argument in arguments:
        for file, folder in _meant_by(argument, out):
            found.setdefault(os.path.abspath(file), (file, folder))
    if not found:
        raise ConfigError(f"{', '.join(arguments)}: no photograph found")
    loose = [os.path.dirname(path) for path, (_, folder) in found.items() if folder is None]
    common = os.path.commonpath(loose) if loose else ""
    places = [
        Path(os.path.relpath(path, common if folder is None else folder)).as_posix()
        for path, (_, folder) in found.items()
    ]
    names = _names(places, list(found))
    files = [file for file, _ in found.values()]
    return [Listed(*parts) for parts in zip(files, places, names, strict=True)]


def _meant_by(argument: str, out: Path) -> Iterator[tuple[Path, str | None]]:
    """Yield photographs, each with the absolute folder that was searched; None for those named."""
    path = Path(argument)
    if path.is_dir():
        folder = os.path.abspath(path)
        yield from ((file, folder) for file in _below(path, out))
    elif path.is_file() and path.suffix.lower() == ".txt":
        yield from ((file, None) for file in _listed_in(path))
    elif path.is_file():
        yield path, None
    elif glob.has_magic(argument):
        matches = sorted(glob.glob(argument, recursive=True))
        masks = os.path.abspath(out) + os.sep
        files = [
            Path(match)
            for match in matches
            if os.path.isfile(match) and not os.path.abspath(match).startswith(masks)
        ]
        if not files:
            raise ConfigError(f"{argument}: no file matches")
        yield from ((file, None) for file in files)
    else:
        raise ConfigError(f"{argument}: no such file or folder")


def _below(folder: Path, out: Path) -> Iterator[Path]:
    """Yield files that look like photographs, depth first, without following links to folders."""
    left_out = out.resolve()
    for place, folders, files in os.walk(folder):
        kept = [
            name
            for name in sorted(folders)
            if not name.startswith(".") and Path(place, name).resolve() != left_out
        ]
        folders[:] = kept
        for name in sorted(files):
            if os.path.splitext(name)[1].lower() in SUFFIXES and not name.startswith("."):
                yield Path(place, name)


def _listed_in(table: Path) -> Iterator[Path]:
    try:
        lines = table.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError:
        raise DataError(f"{table}: not a list of paths in UTF-8; save it as UTF-8 text") from None
    yield from (table.parent / line.strip() for line in lines if line.strip())


def _names(places: Sequence[str], absolute: Sequence[str]) -> list[str]:
    """Name each place; names that would clash or be too long get digits of the path's hash."""
    plain = [os.path.splitext(place)[0] for place in places]
    # Case is ignored: on some systems `A.png` and `a.png` are one file.
    uses = Counter(name.casefold() for name in plain)
    folders = {os.path.dirname(place).casefold() for place in places}
    names = []
    for name, path in zip(plain, absolute, strict=True):
        is_folder = any(f"{name}{end}".casefold() in folders for end in (".png", ".jpg"))
        last = os.path.basename(name)
        if uses[name.casefold()] > 1 or is_folder or len(os.fsencode(last)) > LONGEST:
            digits = hashlib.sha256(os.fsencode(path)).hexdigest()[:8]
            short = os.fsencode(last)[:LONGEST].decode("utf-8", "ignore")
            name = os.path.join(os.path.dirname(name), f"{short}-{digits}")
        names.append(name)
    if len(set(names)) < len(names):
        twice = next(name for name, uses in Counter(names).items() if uses > 1)
        raise DataError(f"two photographs would be named {twice}; rename one")
    return names
