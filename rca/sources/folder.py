"""Source `folder`: the user's own photographs and tags, with or without masks."""

from __future__ import annotations

import csv
import io
import logging
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from rca.checks.findings import CHECKS, SKIPPED, Finding, refuse
from rca.config import FolderSource
from rca.data.images import DataError
from rca.runtime.files import new_folder, write_json, write_text
from rca.runtime.pool import ordered_map, processes_for
from rca.runtime.progress import progress
from rca.sources.photograph_import import Photograph, bring_photograph
from rca.sources.survey import Entry, Survey, survey
from rca.sources.texts import write_texts

log = logging.getLogger(__name__)
NAMED = 5  # files that the log names for each kind of finding


def bring(cfg: FolderSource, out: Path) -> None:
    """Build `out` from the photographs in `cfg.folder`, replacing what was there.

    Args:
        cfg: The section `download`.
        out: The folder of the data set.

    Raises:
        DataError: Tags, photographs or masks cannot be used; `out` is untouched.
    """
    tolerated = SKIPPED if cfg.on_bad_file == "skip" else set()
    findings, entries = lay_out(cfg, out, tolerated=tolerated)
    counts = Counter(entry.split for entry in entries)
    masks = sum(entry.mask is not None for entry in entries)
    log.info("%s: %s, %d with a mask", out, dict(sorted(counts.items())), masks)
    _report(cfg.folder, findings)


def lay_out(
    cfg: FolderSource, out: Path, *, tolerated: Collection[str]
) -> tuple[list[Finding], list[Entry]]:
    """Build `out`; return the findings that did not stop it, and the photographs in it.

    Args:
        cfg: The section `download`.
        out: The folder of the data set.
        tolerated: The checks whose findings stop nothing; their photographs are left out.

    Raises:
        DataError: Tags, photographs or masks cannot be used; `out` is untouched.
    """
    root = cfg.folder
    surveyed = survey(root, cfg.val_share, cfg.val_seed)
    _refuse(root, surveyed.findings, tolerated)
    with new_folder(out) as partial_out:
        findings = surveyed.findings + _bring_photographs(surveyed, root, partial_out)
        _refuse(root, findings, tolerated)
        entries = _kept(surveyed.entries, findings)
        if "list" not in tolerated:
            _refuse_empty(root, entries, surveyed.given)
        _write_texts(cfg, surveyed, entries, partial_out)
        _write_skipped(partial_out / "skipped.csv", root, findings)
    return findings, entries


def _refuse(root: Path, findings: Sequence[Finding], tolerated: Collection[str]) -> None:
    faults = [finding for finding in findings if finding.check not in tolerated]
    refuse(root, faults, "brought", f"rca data doctor {root}")


def _bring_photographs(surveyed: Survey, root: Path, out: Path) -> list[Finding]:
    """Put photographs and masks into `out`; return what is wrong with them."""
    for name in ("JPEGImages", "SegmentationClassAug"):
        (out / name).mkdir()
    photographs = [
        Photograph(root / entry.path, entry.mask, entry.image) for entry in surveyed.entries
    ]
    items = ((photograph.image, photograph) for photograph in photographs)
    done = ordered_map(partial(bring_photograph, out=out), items, processes_for(len(photographs)))
    return [found for found in progress(done, len(photographs), "photographs") if found]


def _kept(entries: Sequence[Entry], findings: Iterable[Finding]) -> list[Entry]:
    """Return the entries without the photographs and masks that could not be read."""
    bad = {(finding.check, image) for finding in findings for image in finding.images}
    return [
        replace(entry, mask=None) if ("mask_unread", entry.image) in bad else entry
        for entry in entries
        if ("photo_unread", entry.image) not in bad
    ]


def _refuse_empty(root: Path, entries: Sequence[Entry], given: bool) -> None:
    lacking = [split for split in ("train", "val") if split not in {e.split for e in entries}]
    if lacking:
        fix = (
            "give some of them this split"
            if given
            else "add photographs, or set download.val_share so that both splits get some"
        )
        raise DataError(
            f"{root}: of {len(entries)} photographs none is for {' or '.join(lacking)}; {fix}"
        )


def _write_texts(cfg: FolderSource, surveyed: Survey, entries: Sequence[Entry], out: Path) -> None:
    lists = {
        split: [entry.image for entry in entries if entry.split == split]
        for split in dict.fromkeys(["train", "val", *(entry.split for entry in entries)])
        if split
    }
    rows = [(entry.image, entry.split or "", entry.tags) for entry in entries]
    write_texts(out, surveyed.classes, lists, rows)
    # A record of which of the user's files became which image.
    _write_csv(
        out / "files.csv", ("image", "file"), ((e.image, e.path.as_posix()) for e in entries)
    )
    split_by = "the user" if surveyed.given else f"seed {cfg.val_seed}, share {cfg.val_share:g}"
    write_json(out / "source.json", {"source": cfg.source, "split_by": split_by})


def _write_skipped(path: Path, root: Path, findings: Sequence[Finding]) -> None:
    """Write a table of what was left out and why; no table if nothing was."""
    skipped = [finding for finding in findings if finding.check in SKIPPED]
    if skipped:
        rows = ((_within(root, finding.file), finding.what) for finding in skipped)
        _write_csv(path, ("file", "what"), rows)


def _report(root: Path, findings: Sequence[Finding]) -> None:
    """Log what was skipped and what is worth a look, one line for each kind."""
    for name in CHECKS:
        found = [finding for finding in findings if finding.check == name]
        if not found:
            continue
        which = [f"{_within(root, finding.file)} {finding.what}" for finding in found[:NAMED]]
        if len(found) > NAMED:
            which.append(f"and {len(found) - NAMED} more")
        what = "skipped" if name in SKIPPED else "worth a look"
        log.warning("%s: %s (%d): %s", what, CHECKS[name].title, len(found), "; ".join(which))


def _within(root: Path, file: Path | str) -> str:
    path = Path(file)
    return (path.relative_to(root) if path.is_relative_to(root) else path).as_posix()


def _write_csv(path: Path, header: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> None:
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    write_text(path, table.getvalue())
