"""The masks of many photographs in a folder: in constant memory, resumable after a kill."""

from __future__ import annotations

import logging
import os
import stat
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from rca.config import ConfigError
from rca.data.images import DataError
from rca.inference.exports import (
    Done,
    remove_tables,
    write_coco,
    write_failures,
    write_label_studio,
    write_table,
)
from rca.inference.journal import Journal, claim, origin_of
from rca.inference.listing import Listed, list_photographs
from rca.inference.outputs import Failure, Row, Stamp, Work, Writer, finish
from rca.inference.photograph_model import PhotographModel
from rca.inference.photographs import read_photograph
from rca.runtime.pool import ordered_map
from rca.runtime.progress import progress

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Wanted:
    """The outputs that are wanted beside masks and `predictions.csv`.

    Attributes:
        overlays: Whether to write the masks over the photographs, as JPEG.
        confidence: Whether to write each pixel's confidence, as 16-bit PNG.
        coco: Whether to write `coco.json`.
        label_studio: The prefix to the photographs' paths in `label_studio.json`; None writes no
            such file.
    """

    overlays: bool = False
    confidence: bool = False
    coco: bool = False
    label_studio: str | None = None


@dataclass
class Outcome:
    """The outcome of a run over photographs.

    Attributes:
        done: The number of photographs with a mask.
        before: The number of those that an earlier run had done.
        failures: The other photographs, with reasons.
    """

    done: int = 0
    before: int = 0
    failures: list[tuple[Path, str]] = field(default_factory=list)


def predict_folder(
    model: PhotographModel,
    photographs: Sequence[str],
    out: Path,
    wanted: Wanted,
    processes: int = 0,
) -> Outcome:
    """Segment photographs and write their masks; a killed run resumes, to the same bytes.

    A photograph that cannot be segmented is recorded, and does not stop the others.

    Args:
        model: The model with its settings.
        photographs: The files, folders, glob patterns and lists, as `list_photographs` takes them.
        out: The folder that gets `masks/<name>.png`, `predictions.csv`, and the other outputs.
        wanted: The other outputs.
        processes: The number of processes for the CRF; 0 uses every core.

    Raises:
        ConfigError: Nothing is named, or `out` holds masks of another model or other settings, or
            of other photographs with the same names.
    """
    listed = list_photographs(photographs, out)
    claim(out, _determining(model))
    remove_tables(out)
    refining = model.refining
    writer = Writer(out, model.classes, model.palette, refining, wanted.overlays, wanted.confidence)
    journal = Journal(out)
    try:
        _refuse_others(listed, journal, out)
        left = [one for one in listed if not _is_done(one, journal, writer)]
        outcome = Outcome(before=len(listed) - len(left))
        if outcome.before:
            log.info("%d of %d photographs were already done", outcome.before, len(listed))
        works = ((str(one.file), _score(model, one)) for one in left)
        # Without a CRF, sending probabilities to other processes would take longer than the rest.
        ends = ordered_map(partial(finish, writer=writer), works, processes if refining else 1)
        for one, end in zip(left, progress(ends, len(left), "photographs"), strict=True):
            if isinstance(end, Failure):
                outcome.failures.append((one.file, end.reason))
            else:
                journal.add(end)
        outcome.done = len(listed) - len(outcome.failures)
        _export(listed, outcome, journal, writer, wanted)
    finally:
        journal.close()
    return outcome


def _determining(model: PhotographModel) -> dict[str, object]:
    """Return everything that determines the masks."""
    import torch

    return {
        **origin_of(model.files, type(model).__module__, __name__),
        "settings": model.described(),
        "classes": list(model.classes),
        "palette": model.palette[: len(model.classes) + 1].tolist(),
        "machine": {"device": model.device.type, "threads": torch.get_num_threads()},
    }


def _refuse_others(listed: Sequence[Listed], journal: Journal, out: Path) -> None:
    """Refuse to overwrite the mask of another photograph, unless that photograph is gone."""
    for one in listed:
        row = journal.get(one.name)
        path = row and row.stamp.path
        if path and path != os.path.abspath(one.file) and os.path.isfile(path):
            raise ConfigError(
                f"{out}: {one.name} is the mask of {path} there, and would be that of {one.file}; "
                "give another --out"
            )


def _stamp(file: Path) -> Stamp:
    status = file.stat()
    if not stat.S_ISREG(status.st_mode):  # reading a pipe would block for ever
        raise DataError(f"{file}: not a regular file")
    return Stamp(os.path.abspath(file), status.st_size, status.st_mtime_ns)


def _is_done(one: Listed, journal: Journal, writer: Writer) -> bool:
    """Return whether the photograph is unchanged since it was segmented and has all its files."""
    row = journal.get(one.name)
    try:
        return row is not None and row.stamp == _stamp(one.file) and writer.wrote(row)
    except (DataError, OSError):  # it is gone; reading it will report that
        return False


def _score(model: PhotographModel, one: Listed) -> Work | Failure:
    start = time.perf_counter()
    try:
        stamp = _stamp(one.file)
        image = read_photograph(one.file)
    except FileNotFoundError:
        return Failure(f"{one.file}: no such image")
    except (DataError, OSError) as error:
        return Failure(str(error))
    scored = model.score(image)
    return Work(one.name, stamp, scored, time.perf_counter() - start)


def _export(
    listed: Sequence[Listed], outcome: Outcome, journal: Journal, writer: Writer, wanted: Wanted
) -> None:
    """Write the tables of all photographs, in their order."""
    failed = {file for file, _ in outcome.failures}

    def done() -> Iterator[Done]:
        for one in listed:
            if one.file not in failed:
                row = journal.get(one.name)
                assert isinstance(row, Row)
                yield Done(one.file, one.place, writer.mask(one.name), row)

    out = writer.out
    write_table(out, done())
    write_failures(out, outcome.failures)
    if wanted.coco:
        write_coco(out, done, writer.classes)
    if wanted.label_studio is not None:
        write_label_studio(out, done(), writer.classes, writer.palette, wanted.label_studio)
