"""Checksums of files and of other contents."""

from __future__ import annotations

import hashlib
import re
import zlib
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from rca.data.images import DataError

SUMS = "SHA256SUMS"  # of the index: the digests of all files that it names
SUM_LINE = re.compile(r"^([0-9a-f]{64})  (.+)$", re.MULTILINE)


def sha256_of(path: Path) -> str:
    """Compute the SHA-256 of a file's content, as 64 hex digits.

    Raises:
        DataError: The file is missing or cannot be read.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from None


def checksum(contents: Mapping[str, bytes | memoryview]) -> int:
    """Compute the CRC-32 of named contents and of their names, in the order of the names."""
    total = 0
    for name in sorted(contents):
        total = zlib.crc32(contents[name], zlib.crc32(name.encode(), total))
    return total


def unchanged_sums(folder: Path, root: Path) -> dict[Path, str]:
    """Return the SHA-256 of each file of the data set that has not changed since it was indexed.

    A job that only wants to know whether its photographs are still the same need not read them all.
    A file whose content or name changed after `SHA256SUMS` was written is left out, by the time of
    its last change (ctime), which no program can set. Only a clock that is set back hides a change.

    Args:
        folder: The folder of the index.
        root: The folder of the data set, which the names in `SHA256SUMS` start from.
    """
    try:
        written = (folder / SUMS).stat().st_mtime_ns
        text = (folder / SUMS).read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return {}
    found = {}
    for digest, name in SUM_LINE.findall(text):
        with suppress(OSError):  # the stage itself reports a missing file
            if (root / name).stat().st_ctime_ns < written:
                found[root / name] = digest
    return found
