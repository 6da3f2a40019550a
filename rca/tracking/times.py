"""When each stage last ran here, and for how long: notes in the state, for results hold no times.

A result is the same bytes whenever it was made, so a time cannot stand in it.
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
    """Begin and end in seconds since 1970."""

    began: float
    ended: float


@contextmanager
def timed(out: Path) -> Iterator[None]:
    """Note begin and end of what makes `out`, if it ends well."""
    began = time.time()
    yield
    write_json(_place(out), Span(began, time.time())._asdict())


def pipeline_span(results: Path) -> Span | None:
    """When the run in `results` ended, and how long its stages took, taken together.

    Time in which no stage ran, as between two days on which the pipeline was called, does not
    count; time in which two ran counts once. Stages that were not run in this folder, but taken
    from DVC's cache, are not noted here.

    Returns:
        The end of the last stage, and as its begin the end less the time that stages ran; None if
        nothing is noted.
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
    except (ValueError, TypeError):  # damaged: as good as none
        return None


def _place(out: Path) -> Path:
    """The note of `out`; those of its parts lie in a folder of the same name."""
    parts = out.absolute().parts[1:]
    return NOTES.joinpath(*parts).with_name(f"{parts[-1]}.json")
