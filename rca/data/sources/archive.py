"""Source `archive`: a tar of a folder that is laid out as `index` reads it."""

from __future__ import annotations

import logging
from pathlib import Path

from rca.config import ArchiveSource
from rca.data.archive import check_digest, unpack

log = logging.getLogger(__name__)


def bring(cfg: ArchiveSource, out: Path) -> None:
    """Unpack `cfg.archive` to `out`, in place of what was there, once its digest is proved.

    Raises:
        DataError: the archive is missing, another one, damaged or unsafe; `out` is untouched.
    """
    check_digest(cfg.archive, cfg.sha256)
    files = unpack(cfg.archive, out)
    log.info("%s: SHA-256 as wanted, %d files unpacked to %s", cfg.archive, files, out)
