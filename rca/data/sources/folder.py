"""Source `folder`: the user's own photographs and tags, with or without masks."""

from __future__ import annotations

import csv
import io
import logging
from collections import Counter
from functools import partial
from pathlib import Path

from rca.config import FolderSource
from rca.data.findings import refuse
from rca.data.images import DataError
from rca.data.sources.own import MASKS, Entry, find_mask, read_entries, with_splits
from rca.data.sources.photographs import Photograph, bring_photograph
from rca.data.sources.texts import write_texts
from rca.data.spread import Spread, processes_for
from rca.files import new_folder, write_json, write_text
from rca.progress import progress

log = logging.getLogger(__name__)


def bring(cfg: FolderSource, out: Path, *, spread: Spread) -> None:
    """Make `out` of the photographs of `cfg.folder`, in place of what was there.

    Args:
        cfg: section `download`.
        out: folder of the data set.
        spread: shares work on many images out over processes.

    Raises:
        DataError: tags, photographs or masks cannot be used; `out` is untouched.
    """
    root = cfg.folder
    entries = read_entries(root)
    given = all(entry.split for entry in entries)
    if not given:
        entries = with_splits(entries, cfg.val_share, cfg.val_seed)
    classes = _classes(root, entries)
    photographs = [
        Photograph(root / entry.path, find_mask(root, entry.path), entry.image) for entry in entries
    ]
    with new_folder(out) as partial_out:
        for name in ("JPEGImages", "SegmentationClassAug"):
            (partial_out / name).mkdir()
        items = ((photograph.image, photograph) for photograph in photographs)
        work = partial(bring_photograph, out=partial_out)
        done = spread(work, items, processes_for(len(photographs)))
        found = list(progress(done, len(photographs), "photographs"))
        refuse(root, [finding for finding in found if finding], "brought")
        rows = [(entry.image, entry.split, entry.tags) for entry in entries if entry.split]
        lists = {
            split: [image for image, of, _ in rows if of == split]
            for split in dict.fromkeys(["train", "val", *(of for _, of, _ in rows)])
        }
        write_texts(partial_out, classes, lists, rows)
        _write_origins(partial_out / "files.csv", entries)
        split_by = "the user" if given else f"seed {cfg.val_seed}, share {cfg.val_share:g}"
        write_json(partial_out / "source.json", {"source": cfg.source, "split_by": split_by})
    counts = Counter(entry.split for entry in entries)
    masks = sum(photograph.mask is not None for photograph in photographs)
    log.info("%s: %s, %d with a mask", out, dict(sorted(counts.items())), masks)


def _write_origins(path: Path, entries: list[Entry]) -> None:
    """Which file of the user became which image."""
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(("image", "file"))
    writer.writerows((entry.image, entry.path.as_posix()) for entry in entries)
    write_text(path, table.getvalue())


def _classes(root: Path, entries: list[Entry]) -> tuple[str, ...]:
    """The classes in the order of their mask values: those of `classes.txt`, or all tags sorted.

    Raises:
        DataError: there are masks, but nothing says what their values mean.
    """
    path = root / "classes.txt"
    if path.is_file():
        lines = path.read_text(encoding="utf-8").splitlines()
        classes = tuple("_".join(line.split()) for line in lines if line.strip())
        if len(set(classes)) < len(classes):
            raise DataError(f"{path}: must name each class once, one a line")
        return classes
    if (root / MASKS).is_dir():
        raise DataError(
            f"{path}: no such file; masks need it: its line v names the class of mask value v"
        )
    classes = tuple(sorted({tag for entry in entries for tag in entry.tags}))
    if not classes:
        raise DataError(f"{root}: no photograph has a tag; fill the column `tags` of tags.csv")
    return classes
