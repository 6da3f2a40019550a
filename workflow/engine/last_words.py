"""The errors of failed stages, repeated when Snakemake exits: its own report would bury them."""

from __future__ import annotations

import atexit
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from workflow.engine.snakemake import MARKS, Stage

MOST = 12  # lines of one stage


def say_at_exit(stages: Sequence[Stage]) -> None:
    """Arrange that this process prints at its exit why stages failed in it."""
    begun = time.time()

    def say() -> None:
        for stage in stages:
            if words := last_words(stage, begun):
                print(f"\n{stage['name']} failed ({stage['log']}):\n{words}", file=sys.stderr)

    atexit.register(say)


def last_words(stage: Stage, since: float) -> str:
    """Return the message at the end of a stage's log; empty if it has not failed since then.

    The message starts at the first line with `rca: ` or `DVC: `. For any other error it is the last
    line.
    """
    # A stage with shards writes a log for each shard.
    log = Path(stage["log"])
    logs = [path for path in (log, *log.parent.glob(f"{log.stem}.*.log")) if path.is_file()]
    fresh = [path for path in logs if path.stat().st_mtime >= since]
    if not fresh or (MARKS / stage["name"]).exists():
        return ""
    lines: list[str] = []
    for path in fresh:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
        starts = [place for place, line in enumerate(lines) if line.startswith(("rca: ", "DVC: "))]
        if starts:
            return "\n".join(lines[starts[0] :][:MOST])
    return "\n".join(lines[-1:])
