"""Stage `download`: the data set, converted from its source to the layout that `index` reads."""

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
    """Write the configured data set to `out`, replacing its former content.

    Raises:
        DataError: The data set is unavailable or not as expected; `out` is unchanged.
    """
    if lost := cfg.lost_with(out):
        raise DataError(f"download.{lost}")
    BRING[cfg.source](cfg, out)
