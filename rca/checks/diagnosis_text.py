"""The doctor's diagnosis as text for a terminal: counts first, then what is wrong."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from rca.checks.census import BACKGROUND, IGNORED, SplitCensus, census, class_names, within
from rca.checks.diagnosis import Diagnosis
from rca.checks.findings import CHECKS, Finding
from rca.runtime.text_table import aligned

WIDTH = 100
SHOWN = 5


def as_text(diagnosis: Diagnosis) -> str:
    """Format counts by class and split, findings by check, clean checks and the verdict."""
    by_check: dict[str, list[Finding]] = {}
    for finding in diagnosis.findings:
        by_check.setdefault(finding.check, []).append(finding)
    parts = [counts_text(census(diagnosis), class_names(diagnosis))]
    parts += [_check_text(diagnosis, check, found) for check, found in by_check.items()]
    parts.append(_titles("Looked for and not found", diagnosis.clean))
    if diagnosis.skipped:
        parts.append(_titles("Not checked until the files above are there", diagnosis.skipped))
    return "\n\n".join([str(diagnosis.root), *parts, verdict(diagnosis)])


def verdict(diagnosis: Diagnosis) -> str:
    """Say how many errors and warnings there are, and what follows from them."""
    counts = f"{_count(diagnosis.errors, 'error')}, {_count(diagnosis.warnings, 'warning')}"
    verb = "`rca download`" if diagnosis.raw else "`rca index`"
    follows = f"{verb} refuses this data set" if diagnosis.errors else f"fit for {verb}"
    return f"{counts}: {follows}"


def counts_text(splits: Sequence[SplitCensus], names: Sequence[str]) -> str:
    """Format the images of each class, and its share of the masks' pixels if there are masks."""
    columns = [["", "images", "with mask", "without tags", BACKGROUND, *names, IGNORED]]
    for split in splits:
        images = [split.images, split.masks, split.untagged]
        tagged = [str(split.tagged[name]) for name in names]
        columns.append([split.split, *map(str, images), "", *tagged, ""])
        if split.masks and len(split.pixels) > 2:
            columns.append(["pixels", "", "", "", *_shares(split, [BACKGROUND, *names, IGNORED])])
    return aligned(list(zip(*columns, strict=True)), indent=2)


def _shares(split: SplitCensus, titles: Sequence[str]) -> list[str]:
    total = sum(split.pixels.values()) or 1
    return [f"{100 * split.pixels[title] / total:.2f} %" for title in titles]


def _check_text(diagnosis: Diagnosis, name: str, found: Sequence[Finding]) -> str:
    check = CHECKS[name]
    lines = [f"{check.severity.upper()}  {check.title}: {len(found)}"]
    lines += [
        f"  {within(diagnosis, finding.file)}: {within(diagnosis, finding.what)}"
        for finding in found[:SHOWN]
    ]
    if len(found) > SHOWN:
        lines.append(f"  … and {len(found) - SHOWN} more; --out FOLDER lists them all")
    lines.append(f"  → {check.fix}")
    return "\n".join(lines)


def _titles(start: str, checks: Sequence[str]) -> str:
    titles = [CHECKS[name].title for name in checks]
    return textwrap.fill(f"{start}: {'; '.join(titles)}.", WIDTH, subsequent_indent="  ")


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
