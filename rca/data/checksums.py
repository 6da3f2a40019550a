"""Checksums, by which a file is known whatever it is called."""

from __future__ import annotations

import hashlib
from pathlib import Path

from rca.data.images import DataError


def sha256_of(path: Path) -> str:
    """SHA-256 of a file's content, 64 hex digits.

    Raises:
        DataError: the file is missing or cannot be read.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from None
