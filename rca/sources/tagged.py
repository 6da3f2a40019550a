"""The photographs of a user's folder with their tags, from a table or from sub-folders."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

from rca.checks.findings import Finding
from rca.data.images import DataError
from rca.data.user_files import Listing, Lookup, name_key
from rca.sources.tag_table import SPLITS, Row, clean, read_table

SHAPES = (
    "put your photographs into one sub-folder for each class (cat/, dog/), or into train/ and val/ "
    "with such sub-folders, or add tags.csv with the columns image and tags"
)


@dataclass(frozen=True)
class Entry:
    """A photograph: its path within the folder, its tags, and its split and mask if given."""

    path: Path
    tags: tuple[str, ...]
    split: str | None
    mask: Path | None = None

    @property
    def image(self) -> str:
        """The name in the data set: the path without suffix, with `_` for `/` and spaces."""
        return "_".join("_".join(self.path.with_suffix("").parts).split())


def find_table(listing: Listing) -> Path | None:
    """Find the table of tags; return None if the photographs' folders give the tags.

    Raises:
        DataError: There are two tables, or a file that was probably meant as one, or neither a
            table nor sub-folders.
    """
    tables = [path for path in listing.others if path.name.lower() in ("tags.csv", "tags.tsv")]
    if len(tables) > 1:
        raise DataError(f"{listing.root}: holds {tables[0]} and {tables[1]}; keep one of them")
    if tables:
        return tables[0]
    loose = [path for path in listing.photographs if len(path.parts) == 1]
    meant = [
        path
        for path in listing.others
        if path.suffix.lower() in (".csv", ".tsv", ".xlsx", ".xls", ".ods")
        or path.stem.lower() in ("tags", "tags.csv")
    ]
    if meant and (loose or meant[0].stem.lower().startswith("tags")):
        raise DataError(
            f"{listing.root}: has {meant[0]} but no tags.csv; if it is the table of tags, save it "
            "as tags.csv (CSV UTF-8), with the columns image and tags"
        )
    if loose and len(loose) == len(listing.photographs):
        raise DataError(
            f"{listing.root}: nothing says what is in its {len(loose)} photographs, such as "
            f"{loose[0]}; {SHAPES}"
        )
    return None


def of_table(listing: Listing, table: Path) -> tuple[list[Entry], list[Finding]]:
    """Read the entries from a table, with findings for rows and photographs that do not match.

    Raises:
        DataError: The table is faulty.
    """
    path = listing.root / table
    read = read_table(path)
    findings = []
    if read.encoding:
        what = f"was read as {read.encoding}; check names with accents, or save it as CSV UTF-8"
        findings.append(Finding("table", path, what))
    # Unsupported formats are in the lookup too: their rows do have a photograph.
    files = [*listing.photographs, *listing.unread]
    lookup = Lookup([*files, *(path for path in listing.others if not path.suffix)])
    named = {row.line: lookup.by_path(row.image) for row in read.rows}
    by_name = _by_name(read.rows, named, lookup)
    entries = []
    for row in read.rows:
        match named[row.line] or by_name.get(row.line, []):
            case [file]:
                if file not in listing.unread:
                    entries.append(Entry(file, row.tags, row.split))
            case []:
                findings.append(_missing(path, row, files))
            case several:
                which = " and ".join(map(str, several[:2]))
                what = f"line {row.line}: {row.image} may be {which}; write the whole path"
                findings.append(Finding("row_unclear", path, what))
    known = {file for found in (*named.values(), *by_name.values()) for file in found}
    findings += [
        Finding("row_missing", listing.root / file, f"has no row in {table}")
        for file in listing.photographs
        if file not in known
    ]
    return entries, findings


def _by_name(
    rows: Sequence[Row], named: Mapping[int, list[Path]], lookup: Lookup
) -> dict[int, list[Path]]:
    """Match rows whose path leads nowhere by name alone: line → photographs.

    Left out are photographs that a row names by path, and those that rows with different paths
    would share.
    """
    taken = {file for found in named.values() for file in found}
    claims: dict[Path, set[str]] = defaultdict(set)
    found = {}
    for row in rows:
        if not named[row.line]:
            found[row.line] = [file for file in lookup.by_name(row.image) if file not in taken]
            for file in found[row.line]:
                claims[file].add(name_key(row.image))
    return {
        line: [file for file in files if len(claims[file]) == 1] for line, files in found.items()
    }


def _missing(path: Path, row: Row, files: Sequence[Path]) -> Finding:
    name = row.image.rpartition("/")[2]
    close = get_close_matches(name, [file.name for file in files[:5000]], 1, 0.75)
    hint = f" (is it {close[0]}?)" if close else ""
    what = f"line {row.line}: {row.image}: the folder holds no such photograph{hint}"
    return Finding("file_missing", path, what)


def of_folders(listing: Listing) -> tuple[list[Entry], list[Finding]]:
    """Read the entries from the folders they lie in, with findings for photographs in none."""
    tops = {path.parts[0].lower() for path in listing.photographs if len(path.parts) > 1}
    split = bool(tops) and tops <= set(SPLITS)
    entries, findings = [], []
    for path in listing.photographs:
        above = path.parts[:-1]
        if len(above) < 1 + split:
            what = "lies in no class's folder"
            findings.append(Finding("row_missing", listing.root / path, what))
        elif split:
            entries.append(Entry(path, (clean(above[1]),), above[0].lower()))
        else:
            entries.append(Entry(path, (clean(above[0]),), None))
    return entries, findings
