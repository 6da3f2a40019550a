"""Stage `check`: all errors that can be found before anything runs, and a record of the source.

It runs first in every run: its digest of a user's folder tells `download` when that has changed.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

from rca.config import (
    TIMM,
    ConfigError,
    FolderSource,
    Params,
    check_supply,
    not_installed,
    saliency_keys,
)
from rca.data.user_files import seen
from rca.runtime.files import write_json
from rca.sources.disk_space import GB, needed
from rca.sources.survey import survey
from rca.sources.unpacking import contents


def run(params: Params, *, out: Path | None = None) -> None:
    """Refuse what a later stage would refuse, and record the data's source.

    Args:
        params: The whole configuration.
        out: The JSON file that gets the source and, for a user's folder, a digest of its files.
            None records nothing.

    Raises:
        ConfigError: A file or numba is missing, the data set will lack what is asked for, one of
            timm's networks does not fit, or the disk has too little free space.
        DataError: The user's folder or archive cannot be used.
    """
    check_supply(params)
    missing = [
        f"{key}: {path}: no such {kind}; correct the path" for key, path, kind in _absent(params)
    ]
    if missing:
        raise ConfigError("\n     ".join(missing))  # aligned after `rca: `
    _check_crf(params)
    _check_backbones(params)
    _check_masks(params)
    _check_saliency(params)
    _check_room(params)
    if out:
        source = params.download
        note: dict[str, str | int] = {"source": source.source}
        if isinstance(source, FolderSource):
            note |= {"folder": source.folder.as_posix(), **seen(source.folder)}
        write_json(out, note)


def _absent(params: Params) -> Iterator[tuple[str, Path, str]]:
    """Yield the key, path and kind of each configured file or folder that does not exist."""
    for section in ("train_cam", "train_seg"):
        for path in getattr(params, section).backbone.files():
            if not path.is_file():
                yield f"{section}.backbone.weights", path, "file"
    for key, value in params.download:
        if isinstance(value, Path):
            folder = key in ("folder", "have")
            if not (value.is_dir() if folder else value.is_file()):
                yield f"download.{key}", value, "folder" if folder else "file"


def _check_crf(params: Params) -> None:
    """Refuse an implementation whose library is missing, before hours of training."""
    if params.crf.implementation == "numba" and find_spec("numba") is None:
        raise not_installed(
            "crf.implementation: numba", "numba", "numba", "set crf.implementation: pydensecrf"
        )


def _check_backbones(params: Params) -> None:
    """Build timm's networks without weights: nothing else tells whether they fit."""
    for section in ("train_cam", "train_seg"):
        backbone = getattr(params, section).backbone
        if backbone.name.startswith(TIMM):
            from rca.models.timm_backbones import timm_blocks  # here, since torch takes seconds

            timm_blocks(backbone.model_copy(update={"weights": "none"}))


def _check_masks(params: Params) -> None:
    """Refuse training on true masks if a folder's training image, or a whole archive, has none."""
    source = params.download
    if "truth" not in params.train_seg.supervisions:
        return
    if source.source == "folder":
        entries = survey(source.folder, source.val_share, source.val_seed).entries
        without = [e.path.as_posix() for e in entries if e.split == "train" and not e.mask]
        if without:
            raise ConfigError(
                f"train_seg.supervisions: truth needs a mask of every training image; "
                f"{len(without)} have none, such as {without[0]}; leave `truth` "
                "out"
            )
    elif source.source == "archive" and not _holds(source.archive, "SegmentationClassAug/"):
        raise ConfigError(
            f"train_seg.supervisions: truth needs masks, and {source.archive} has none; leave "
            "`truth` out"
        )


def _check_saliency(params: Params) -> None:
    wanted, source = saliency_keys(params), params.download
    if wanted and source.source == "archive" and not _holds(source.archive, "saliency/"):
        raise ConfigError(
            f"{wanted[0]} needs saliency maps, and {source.archive} has none; pack them into it, "
            "or do without"
        )


def _holds(archive: Path, folder: str) -> bool:
    """Check whether an archive has files in a folder, without unpacking it."""
    names: list[str] = []

    def note(name: str) -> bool:
        names.append(name)
        return False

    for _ in contents(archive, note):
        pass
    return any(name.startswith(folder) for name in names)


def _check_room(params: Params) -> None:
    room, free = needed(params), shutil.disk_usage(".").free
    if room > free:
        raise ConfigError(
            f"the disk of {Path.cwd()} has {free / GB:.1f} GB free, and this run may write "
            f"{room / GB:.1f} GB more (data, results and DVC's copies of them); make room, or "
            "run from another disk"
        )
