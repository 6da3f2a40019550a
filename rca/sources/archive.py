"""Source `archive`: an archive of a folder in the layout that stage `index` reads."""

from __future__ import annotations

import logging
from pathlib import Path

from rca.config import ArchiveSource
from rca.data.checksums import sha256_of
from rca.data.images import DataError
from rca.runtime.files import new_folder, write_json
from rca.sources.unpacking import unpack

log = logging.getLogger(__name__)


def bring(cfg: ArchiveSource, out: Path) -> None:
    """Verify the digest of `cfg.archive` and unpack it to `out`, replacing what was there.

    Raises:
        DataError: The archive is missing, has another digest, or is damaged or unsafe; `out` is
            untouched.
    """
    if not cfg.archive.exists():
        raise DataError(f"{cfg.archive}: no such file; fetch it, or correct download.archive")
    found = sha256_of(cfg.archive)
    if found != cfg.sha256:
        raise DataError(
            f"{cfg.archive}: is not the expected archive\n"
            f"  wanted SHA-256 {cfg.sha256}\n"
            f"  got    SHA-256 {found}\n"
            "  fetch it again; if this file is meant, set download.sha256 to what was got"
        )
    with new_folder(out) as partial:
        files = unpack(cfg.archive, partial)
        note = partial / "source.json"
        if not note.exists():  # an archived data set of another source has a fuller one
            write_json(note, {"source": cfg.source, "archives": {cfg.archive.name: cfg.sha256}})
    log.info("%s: SHA-256 matches, %d files unpacked to %s", cfg.archive, files, out)
