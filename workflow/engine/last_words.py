"""The last words of a run: why stages failed, or how a run that was interrupted is resumed.

They come when Snakemake exits, because its own report would bury them.
"""

from __future__ import annotations

import atexit
import shlex
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rca.runtime.state import STATE
from workflow.engine.events import INTERRUPTED, endings
from workflow.engine.snakemake import MARKS, Stage

MOST = 12  # lines of one stage


def say_at_exit(stages: Sequence[Stage]) -> None:
    """Arrange that this process prints at its exit why stages failed, or that it was interrupted.

    It notes Ctrl-C (SIGINT) for this, and leaves what follows from it to Snakemake.
    """
    begun = time.time() - 0.1  # a file's time comes from a clock that lags by milliseconds
    interrupts: list[int] = []
    usual = signal.getsignal(signal.SIGINT)

    def note(number: int, frame: Any) -> None:
        interrupts.append(number)
        assert callable(usual)
        usual(number, frame)

    if callable(usual):  # not where it is ignored, as in the background of a script
        signal.signal(signal.SIGINT, note)

    def say() -> None:
        for stage in stages:
            words = last_words(stage, begun)
            if words and _has_failed(stage["name"], bool(interrupts)):
                print(f"\n{stage['name']} failed ({stage['log']}):\n{words}", file=sys.stderr)
        if interrupts and (text := interruption(stages, begun)):
            print(f"\n{text}", file=sys.stderr)

    atexit.register(say)


def last_words(stage: Stage, since: float) -> str:
    """Return the message at the end of a stage's log; empty if it did not run or is done.

    The message starts at the first line with `rca: ` or `DVC: `. For any other error it is the last
    line.
    """
    lines: list[str] = []
    for path in _fresh_logs(stage, since):
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
        starts = [place for place, line in enumerate(lines) if line.startswith(("rca: ", "DVC: "))]
        if starts:
            return "\n".join(lines[starts[0] :][:MOST])
    return "\n".join(lines[-1:])


def interruption(stages: Sequence[Stage], since: float) -> str:
    """Say where a run was interrupted, what is kept, and how to resume it; empty if all is done."""
    done = [stage for stage in stages if (MARKS / stage["name"]).exists()]
    if len(done) == len(stages):
        return ""
    begun = [stage["name"] for stage in stages if _fresh_logs(stage, since)]
    kept = [f"{len(done)} of {len(stages)} stages"]
    folders = dict.fromkeys(STATE / name.partition("@")[0] for name in begun)
    if held := [f"{folder}/" for folder in folders if folder.is_dir() and any(folder.iterdir())]:
        kept.append(f"unfinished work in {', '.join(held)}")
    where = f" in {', '.join(begun)}" if begun else ""
    return f"Interrupted{where}.\nKept:   {' and '.join(kept)}\nResume: {_command()}"


def _command() -> str:
    """Return the command line of this process, as it can be repeated in this folder."""
    program = Path(sys.argv[0])
    if program.is_relative_to(Path.cwd()):
        program = program.relative_to(Path.cwd())
    return shlex.join([str(program), *sys.argv[1:]])


def _fresh_logs(stage: Stage, since: float) -> list[Path]:
    """List the logs of a stage that is not done, of its shards as well, written since then."""
    if (MARKS / stage["name"]).exists():
        return []
    log = Path(stage["log"])
    logs = (log, *log.parent.glob(f"{log.stem}.*.log"))
    return [path for path in logs if path.is_file() and path.stat().st_mtime >= since]


def _has_failed(name: str, interrupted: bool) -> bool:
    """Tell whether a stage that is not done has failed, by what its jobs told of their ends.

    It has not if it was interrupted, or if Snakemake ended between its shards and itself.
    """
    ends = endings(name)
    if interrupted:
        return any(status not in (0, INTERRUPTED, None) for status in ends.values())
    return not ends or "" in ends or any(ends.values()) or None in ends.values()
