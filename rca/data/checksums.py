"""Checksums of files and of other contents."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Mapping
from pathlib import Path

from rca.data.images import DataError


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
