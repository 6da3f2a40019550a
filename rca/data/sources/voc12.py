"""Source `voc12_aug`: PASCAL VOC 2012 with the masks of SBD."""

from __future__ import annotations

from pathlib import Path

from rca.config import Voc12AugSource


def bring(cfg: Voc12AugSource, out: Path) -> None:
    """Bring the archives of VOC 2012 and SBD, and make `out` of them."""
    raise NotImplementedError
