"""What failed and why, said once more when Snakemake has ended: its own report comes after it."""

from __future__ import annotations

import atexit
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from workflow.engine.snakemake import MARKS, Stage

MOST = 12  # lines of one stage


def say_at_exit(stages: Sequence[Stage]) -> None:
    """When this process ends, print the last words of the stages that failed in it."""
    begun = time.time()

    def say() -> None:
        for stage in stages:
            if words := last_words(stage, begun):
                print(f"\n{stage['name']} failed ({stage['log']}):\n{words}", file=sys.stderr)

    atexit.register(say)


def last_words(stage: Stage, since: float) -> str:
    """The message at the end of a stage's log; empty if it did not fail since then.

    From the first line of `rca: ` or `DVC: ` on, or the last line of whatever else went wrong.
    """
    # A stage that is shared writes a log for each share.
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
