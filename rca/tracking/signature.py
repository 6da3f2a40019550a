"""A copy of a report that names its run: commit, date and machines.

The report is the same bytes wherever and whenever it is made. What a run adds to that goes into a
copy, made by stage `track`, which no result depends on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from html import escape
from pathlib import Path

from rca.tracking.provenance import SCORES

# A placeholder in the report's list of terms.
PLACE = (
    "<div><dt>Commit, date and machine</dt><dd>in a copy of this page, "
    "<code>track/report.html</code>, by stage <code>track</code>: here they would change the "
    "bytes</dd></div>"
)
TRAININGS = {
    "train_cam": "Classification network trained on",
    "train_seg/pseudo": "Segmentation network trained on",
    "train_seg/truth": "Network on true masks trained on",
}


def scored_at(results: Path) -> datetime:
    """Return when the scores of the experiment in `results` were written, in UTC."""
    return datetime.fromtimestamp((results / SCORES).stat().st_mtime, UTC)


def signed(page: str, rows: Sequence[tuple[str, str]]) -> str:
    """Add terms to the list in `page`, a report; a page without a place for them stays as it is."""
    terms = "".join(
        f"<div><dt>{escape(term)}</dt><dd>{escape(text)}</dd></div>" for term, text in rows
    )
    return page.replace(PLACE, terms, 1)


def of_the_run(tags: Mapping[str, str], scored: datetime | None) -> list[tuple[str, str]]:
    """List terms and their texts: commit, date, data, machines.

    Args:
        tags: The tags from `rca.tracking.provenance`.
        scored: When the scores were written, in UTC, if that is known.
    """
    rows = []
    if commit := tags.get("git.commit"):
        edited = tags.get("git.clean") == "false"
        rows.append(("Commit", commit + (", with local edits" if edited else "")))
    if scored:
        rows.append(("Scored", f"{scored:%Y-%m-%d %H:%M} UTC"))
    if digest := tags.get("data.md5"):
        rows.append(("Data set, as DVC digests it", f"MD5 {digest}"))
    for training, term in TRAININGS.items():
        facts = [
            tags.get(f"{training}.{fact}", "") for fact in ("gpus", "processor", "cores", "torch")
        ]
        if facts[1]:
            gpus, processor, cores, torch = facts
            plural = "" if cores == "1" else "s"
            rows.append((term, f"{gpus or processor}, {cores} core{plural}, torch {torch}"))
    return rows
