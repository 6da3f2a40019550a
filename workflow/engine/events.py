"""What jobs tell of themselves: a file each, which they write and the main process follows.

A job of a cluster writes it on another machine; the folder is one that both see.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from rca.runtime.events import VARIABLE, tell

FOLDER = Path(".snakemake/events")
INTERRUPTED = 130  # the exit status of a job after Ctrl-C, as a shell gives it
Event = dict[str, Any]


def run_telling(main: Callable[[], int]) -> None:
    """Run a job, by its arguments STAGE and perhaps NUMBER/SHARDS; tell of its begin and end."""
    name = "~".join(sys.argv[1:]).replace("/", "of")
    FOLDER.mkdir(parents=True, exist_ok=True)
    os.environ[VARIABLE] = str(FOLDER.absolute() / f"{name}.jsonl")
    tell(begun=True)
    status = 1
    try:
        status = main()
    except KeyboardInterrupt:
        status = INTERRUPTED
    finally:
        tell(ended=status)
    sys.exit(status)


def endings(stage: str) -> dict[str, int | None]:
    """Return the exit status of each job of a stage, by its share (empty for the whole).

    It is None for a job that has not told of its end, because it runs or was killed.
    """
    found: dict[str, int | None] = {}
    for file in (FOLDER / f"{stage}.jsonl", *FOLDER.glob(f"{stage}~*.jsonl")):
        if file.is_file():
            share = file.stem.partition("~")[2].replace("of", "/")
            found[share] = None
            for line in file.read_bytes().splitlines():
                with suppress(ValueError):  # half a line of a job that was killed
                    event = json.loads(line)
                    found[share] = None if "begun" in event else event.get("ended", found[share])
    return found


class Followed:
    """The events of all jobs, as they come."""

    def __init__(self) -> None:
        """Begin after what there is."""
        self._read = {file: file.stat().st_size for file in FOLDER.glob("*.jsonl")}  # bytes

    def news(self) -> Iterator[tuple[str, str, Event]]:
        """Yield stage, share (empty for the whole) and event, of each since the last call."""
        for file in sorted(FOLDER.glob("*.jsonl")):
            stage, _, share = file.stem.partition("~")
            for line in self._new_lines(file):
                with suppress(ValueError):  # half a line of a job that was killed, and another
                    yield stage, share.replace("of", "/"), json.loads(line)

    def _new_lines(self, file: Path) -> list[bytes]:
        with file.open("rb") as events:
            events.seek(self._read.get(file, 0))
            whole, newline, _ = events.read().rpartition(b"\n")
        self._read[file] = self._read.get(file, 0) + len(whole + newline)
        return whole.splitlines()
