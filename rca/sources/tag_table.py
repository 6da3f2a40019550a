"""A user's table of tags, as editors and spreadsheets save it.

The encoding is UTF-8 with or without a byte-order mark, UTF-16, or Windows-1252. The delimiter is
`,`, `;`, tab or `|`; a first line such as `sep=;` may declare it. The columns image, tags and
optionally split come in any order and any case, with or without others.
"""

from __future__ import annotations

import csv
import io
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

from rca.data.images import DataError

SPLITS = ("train", "val", "test")
COLUMNS = ("image", "tags", "split")
DELIMITERS = (",", ";", "\t", "|")
HEADER = "its first line must name the columns: image,tags or image,tags,split"


@dataclass(frozen=True)
class Row:
    """A line of the table: the photograph as named there, its tags, and its split if given."""

    line: int
    image: str
    tags: tuple[str, ...]
    split: str | None


@dataclass(frozen=True)
class Table:
    """The rows of a table, and its encoding if that is not UTF-8."""

    rows: list[Row]
    encoding: str | None


def read_table(path: Path) -> Table:
    """Read the table at `path`.

    Raises:
        DataError: The file is not such a table, or a line of it cannot be understood.
    """
    text, encoding = _decoded(path)
    delimiter, lines = _delimited(text)
    skipped = text.count("\n") - lines.count("\n")
    (_, header), *cells = _records(path, lines, delimiter, skipped)
    columns = {name.strip().lower(): place for place, name in enumerate(header)}
    _check_columns(path, header, columns)
    filled = [(line, row) for line, row in cells if any(cell.strip() for cell in row)]
    if not filled:
        raise DataError(f"{path}: has no rows; it needs a row for each image, image and tags")
    kept = [(line, *_row(path, line, row, header, columns)) for line, row in filled]
    separator = _separator([cell for _, _, cell, _ in kept])
    return Table(
        [Row(line, image, split_tags(cell, separator), split) for line, image, cell, split in kept],
        encoding,
    )


def split_tags(cell: str, separator: str | None) -> tuple[str, ...]:
    """Split a cell into its tags, in their order, each once."""
    parts = re.split(rf"[{re.escape(separator)}\n]", cell) if separator else cell.split()
    return tuple(dict.fromkeys(tag for tag in map(clean, parts) if tag))


def clean(name: str) -> str:
    """Clean a class name: `_` for white space, composed accents, no invisible characters."""
    seen = "".join(sign for sign in name if unicodedata.category(sign) != "Cf")
    return "_".join(unicodedata.normalize("NFC", seen).split())


def _decoded(path: Path) -> tuple[str, str | None]:
    content = path.read_bytes()
    if content.startswith(b"PK\x03\x04") or content.startswith(b"\xd0\xcf\x11\xe0"):
        raise DataError(f"{path}: is a workbook, not CSV; save it as CSV UTF-8")
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        encoding: str | None = "utf-16"
    else:
        encoding = None
    try:
        text = content.decode(encoding or "utf-8-sig")
    except UnicodeDecodeError:
        encoding = "cp1252"
        try:
            text = content.decode(encoding)
        except UnicodeDecodeError:
            raise DataError(
                f"{path}: neither UTF-8 nor Windows-1252; save it as CSV UTF-8"
            ) from None
    if "\0" in text:
        raise DataError(f"{path}: holds binary data, not text; save it as CSV UTF-8")
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    return text, {"utf-16": "UTF-16", "cp1252": "Windows-1252"}.get(encoding or "")


def _delimited(text: str) -> tuple[str, str]:
    """Return the delimiter, and the text from the header on."""
    first, _, rest = text.partition("\n")
    if match := re.fullmatch(r'"?sep=(.)"?[,;\s]*', first.strip(" "), re.IGNORECASE):
        return match[1], rest
    while text and not first.strip():  # blank lines before the header
        text = rest
        first, _, rest = text.partition("\n")
    names = [
        (mark, {name.strip().lower() for name in next(csv.reader([first], delimiter=mark), [])})
        for mark in DELIMITERS
    ]
    # The delimiter that separates the most known columns; a comma if none does.
    return max(names, key=lambda pair: len(pair[1].intersection(COLUMNS)))[0], text


def _records(path: Path, text: str, delimiter: str, skipped: int) -> list[tuple[int, list[str]]]:
    """Return the line number and the cells of each row; `skipped` lines precede `text`."""
    reader = csv.reader(io.StringIO(text), delimiter=delimiter)
    try:
        rows = [(skipped + reader.line_num, row) for row in reader]
    except csv.Error as error:
        raise DataError(f"{path}: not valid CSV ({error}); save it as CSV UTF-8") from None
    if not rows:
        raise DataError(f"{path}: is empty; {HEADER}")
    return rows


def _check_columns(path: Path, header: Sequence[str], columns: dict[str, int]) -> None:
    missing = [name for name in COLUMNS[:2] if name not in columns]
    if not missing:
        return
    shown = ", ".join(name.strip() for name in header[:8]) or "nothing"
    close = get_close_matches(missing[0], columns, 1, 0.6)
    hint = f"; is {close[0]!r} meant for {missing[0]!r}?" if close else ""
    raise DataError(f"{path}: has no column {' and '.join(missing)} but {shown}{hint}; {HEADER}")


def _row(
    path: Path, line: int, row: Sequence[str], header: Sequence[str], columns: dict[str, int]
) -> tuple[str, str, str | None]:
    """Return the image, the cell of tags and the split of a line.

    Cells beyond the header are tags whose commas were not quoted, if tags are the last column.
    """
    beyond = [cell.strip() for cell in row[len(header) :] if cell.strip()]
    if beyond and columns["tags"] != len(header) - 1:
        raise DataError(
            f"{path}: line {line} has {len(row)} cells under {len(header)} columns; "
            'put the tags in quotes, "cat,dog", or set them apart by spaces'
        )
    image, tags, split = (
        row[columns[name]].strip() if name in columns and columns[name] < len(row) else ""
        for name in COLUMNS
    )
    if beyond:
        tags = ",".join([tags, *beyond])
    if not image:
        raise DataError(f"{path}: line {line} names no image; fill the column image")
    if re.search(r"""[\[\]{}]|^["']""", tags):
        raise DataError(
            f"{path}: line {line} holds tags as a program prints a list, {tags}; "
            "write them plainly: cat dog, or cat;dog"
        )
    if split and split.lower() not in SPLITS:
        raise DataError(
            f"{path}: line {line} must have train, val, test or nothing as split, not {split!r}"
        )
    return image, tags, split.lower() or None


def _separator(cells: Sequence[str]) -> str | None:
    return next((mark for mark in ";,|\t" if any(mark in cell for cell in cells)), None)
