"""When each stage last ran here, and for how long: notes in the folder `state`.

A result has the same bytes whenever it was made, so it cannot hold a time itself.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from rca.runtime.files import write_json

NOTES = Path("state/times")


class Span(NamedTuple):
    """A start and an end, in seconds since 1970."""

    began: float
    ended: float


@contextmanager
def timed(out: Path) -> Iterator[None]:
    """Note when the block that makes `out` started and ended, unless it raises an error."""
    began = time.time()
    yield
    write_json(_place(out), Span(began, time.time())._asdict())


def pipeline_span(results: Path) -> Span | None:
    """Compute when the run in `results` ended, and how long its stages took in total.

    Time in which no stage ran, such as between calls of the pipeline on two days, does not count.
    Time in which two stages ran counts once. Stages that were taken from DVC's cache, rather than
    run in this folder, have no notes here.

    Returns:
        A span that ends with the last stage and is as long as stages ran; None if nothing is noted.
    """
    notes = _place(results).with_suffix("").rglob("*.json")
    spans = sorted(span for note in notes if (span := _read(note)))
    if not spans:
        return None
    total, until = 0.0, spans[0].began
    for began, ended in spans:
        total += max(ended - max(began, until), 0)
        until = max(until, ended)
    return Span(until - total, until)


def _read(note: Path) -> Span | None:
    try:
        return Span(**json.loads(note.read_text(encoding="utf-8")))
    except (ValueError, TypeError):  # damaged: the same as none
        return None


def _place(out: Path) -> Path:
    """Return the path of the note of `out`; notes of its parts lie in a folder of the same name."""
    parts = out.absolute().parts[1:]
    return NOTES.joinpath(*parts).with_name(f"{parts[-1]}.json")
