"""`rca data doctor`: the diagnosis and its page. Not a stage, since none depends on its output."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from PIL import Image

from rca.checks.census import BACKGROUND, IGNORED, as_json, census, class_names, within
from rca.checks.diagnosis import Diagnosis, diagnose, in_order
from rca.checks.diagnosis_text import as_text, verdict
from rca.checks.findings import CHECKS, ON_IMPORT, Finding
from rca.config import FolderSource, IndexSection
from rca.data.images import DataError, read_image, read_mask
from rca.presentation.gallery import Gallery, Layer
from rca.presentation.html.page import render
from rca.presentation.overlays import draw_labels
from rca.presentation.screen_colours import screen_palette
from rca.runtime.files import write_json, write_text
from rca.sources.folder import lay_out

__all__ = ["as_text", "run", "run_raw"]

SHOWN, FOLDED = 8, 200  # findings of a check, shown at once and on a click
EXAMPLES, PER_CLASS = 6, 3  # pictures of a check, and of a class
# A picture would add nothing to these.
TEXT_CHECKS = {*ON_IMPORT, "unlisted", "tags_missing", "list", "mask_gap", "saliency"}


def run(cfg: IndexSection, *, data: Path, out: Path | None, processes: int = 0) -> Diagnosis:
    """Diagnose the data set `data`; write `doctor.html` and `doctor.json` to `out`, if given.

    Args:
        cfg: section `index`, for its lists and classes; `limit` is ignored.
        data: a VOC-like folder.
        out: the folder for the two files.
        processes: the number of processes that open the images; 0 uses every core.

    Raises:
        DataError: the folder `data` does not exist.
    """
    splits = {"train": cfg.train_list, "val": cfg.val_list}
    diagnosis = diagnose(data, splits, cfg.classes, processes)
    _write(diagnosis, cfg.classes, out)
    return diagnosis


def run_raw(
    cfg: FolderSource, index: IndexSection, *, out: Path | None, processes: int = 0
) -> Diagnosis:
    """Diagnose a user's own folder as `download` would bring it; `download` need not have run.

    The folder is laid out in a temporary folder, with links to the photographs where possible.

    Args:
        cfg: section `download`; no file is refused, whatever `on_bad_file` says.
        index: section `index`.
        out: as for `run`.
        processes: as for `run`.

    Raises:
        DataError: the user's folder does not exist, or cannot be laid out at all.
    """
    with TemporaryDirectory(prefix="rca-doctor-") as scratch:
        data = Path(scratch) / "data"
        found, entries = lay_out(cfg, data, tolerated=CHECKS)
        splits = {"train": index.train_list, "val": index.val_list}
        laid_out = diagnose(data, splits, index.classes, processes)
        names = {data / "JPEGImages" / f"{e.image}.jpg": cfg.folder / e.path for e in entries}
        names |= {
            data / "SegmentationClassAug" / f"{e.image}.png": e.mask for e in entries if e.mask
        }
        known = {str(ours): str(theirs) for ours, theirs in names.items()}
        # The findings on the user's folder report these once for all photographs.
        again = {"tag_unknown"}.intersection(finding.check for finding in found)
        findings = found + [
            replace(finding, file=_theirs(finding.file, known), what=_theirs(finding.what, known))
            for finding in laid_out.findings
            if finding.check not in again
        ]
        diagnosis = replace(laid_out, findings=in_order(findings), raw=cfg.folder)
        _write(diagnosis, index.classes, out)
    return diagnosis


def _theirs(text: object, names: Mapping[str, str]) -> str:
    """Replace the files that were laid out in `text` by the user's own files."""
    return re.sub(r"\S+/data/\S+?\.(?:jpg|png)\b", lambda m: names.get(m[0], m[0]), str(text))


def _write(diagnosis: Diagnosis, chosen: Sequence[str] | None, out: Path | None) -> None:
    """Write the two files, and keep whatever else lies in the user's folder `out`."""
    if out:
        write_json(out / "doctor.json", as_json(diagnosis))
        write_text(out / "doctor.html", _page(diagnosis, chosen))


def _page(diagnosis: Diagnosis, chosen: Sequence[str] | None) -> str:
    found: dict[str, list[Finding]] = defaultdict(list)
    for finding in diagnosis.findings:
        found[finding.check].append(finding)
    every = class_names(diagnosis)
    names = [name for name in every if name in chosen] if chosen else every
    palette = screen_palette(every, diagnosis.folder.tags.values())
    splits = census(diagnosis)
    panels = Panels(diagnosis, palette)
    return render(
        "doctor.html.j2",
        name=diagnosis.root.resolve().name,
        verdict=verdict(diagnosis),
        errors=diagnosis.errors,
        warnings=diagnosis.warnings,
        colours={name: "#" + bytes(palette[v]).hex() for v, name in enumerate(every, start=1)},
        left_out=len(every) - len(names),
        splits=splits,
        masked=any(split.masks for split in splits),
        rows=_rows(diagnosis, names),
        checks=[_check(diagnosis, panels, name, entries) for name, entries in found.items()],
        clean=[CHECKS[name].title for name in diagnosis.clean],
        skipped=[CHECKS[name].title for name in diagnosis.skipped],
        examples=_examples(diagnosis, panels, names),
    )


def _rows(diagnosis: Diagnosis, names: Sequence[str]) -> list[dict[str, Any]]:
    """Build the table of counts: a row for the background, each class, and ignored pixels."""
    splits = census(diagnosis)
    totals = [sum(split.pixels.values()) for split in splits]
    most = [max(split.tagged.values(), default=0) for split in splits]
    return [
        {
            "name": name,
            "cells": [
                {
                    "images": split.tagged.get(name),
                    "bar": 100 * split.tagged.get(name, 0) / (top or 1),
                    "masked": bool(split.masks),
                    "pixels": 100 * split.pixels.get(name, 0) / (total or 1),
                }
                for split, total, top in zip(splits, totals, most, strict=True)
            ],
        }
        for name in (BACKGROUND, *names, IGNORED)
    ]


def _check(
    diagnosis: Diagnosis, panels: Panels, name: str, found: Sequence[Finding]
) -> dict[str, Any]:
    lines = [
        {"file": within(diagnosis, finding.file), "what": within(diagnosis, finding.what)}
        for finding in found[: SHOWN + FOLDED]
    ]
    images = dict.fromkeys(image for finding in found for image in finding.images)
    shown = [] if name in TEXT_CHECKS else panels.some(images, EXAMPLES)
    return {
        "name": name,
        "title": CHECKS[name].title,
        "severity": CHECKS[name].severity,
        "fix": CHECKS[name].fix,
        "count": len(found),
        "shown": lines[:SHOWN],
        "rest": lines[SHOWN:],
        "left_out": max(len(found) - SHOWN - FOLDED, 0),
        "panels": shown,
    }


def _examples(
    diagnosis: Diagnosis, panels: Panels, names: Sequence[str]
) -> dict[str, list[dict[str, Any]]]:
    """Return class → panels of its first images, in the order of the lists."""
    images = [image for names in diagnosis.lists for image in names.images]
    holding: dict[str, list[str]] = defaultdict(list)
    for image in images:
        for tag in diagnosis.folder.tags.get(image, ()):
            holding[tag].append(image)
    examples = {name: panels.some(dict.fromkeys(holding[name]), PER_CLASS) for name in names}
    return {name: shown for name, shown in examples.items() if shown}


class Panels:
    """Photographs with their masks, for those images that can be opened."""

    def __init__(self, diagnosis: Diagnosis, palette: np.ndarray) -> None:
        folder = diagnosis.folder
        self.splits = {image: names.split for names in diagnosis.lists for image in names.images}

        def mask(image: str) -> np.ndarray | None:
            path = folder.mask(image)
            try:
                return read_mask(path) if path else None
            except DataError:
                return None  # a finding reports it

        def paint(photo: Image.Image, labels: np.ndarray) -> Image.Image:
            return draw_labels(photo, labels, palette)

        self.gallery = Gallery(
            tags={image: folder.tags.get(image, ()) for image in self.splits},
            photo=lambda image: read_image(folder.image(image)),
            layers=[Layer("Mask", None, mask, paint)],
            scores={},
        )

    def some(self, images: Sequence[str] | dict[str, None], count: int) -> list[dict[str, Any]]:
        """Return panels of the first images that can be opened, at most `count`."""
        panels: list[dict[str, Any]] = []
        for image in images:
            if len(panels) == count:
                break
            try:
                panel = self.gallery.panel(image)
            except (DataError, KeyError):
                continue
            panels.append({**panel, "split": self.splits[image]})
        return panels
