"""Stage `download`: the data set, brought from its source into the one layout of `index`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from rca.config import Download
from rca.data.images import DataError
from rca.sources import archive, coco14, folder, voc12

BRING: dict[str, Callable[..., None]] = {
    "archive": archive.bring,
    "voc12_aug": voc12.bring,
    "coco14": coco14.bring,
    "folder": folder.bring,
}


def run(cfg: Download, *, out: Path) -> None:
    """Bring the data set that `cfg` names to `out`, in place of what was there.

    Raises:
        DataError: it cannot be had, or is not what it should be; `out` is untouched.
    """
    if lost := cfg.lost_with(out):
        raise DataError(f"download.{lost}")
    BRING[cfg.source](cfg, out)
