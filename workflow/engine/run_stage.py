"""One stage of dvc.yaml, as a job: `python -m workflow.engine.run_stage STAGE`.

This is `dvc repro --single-item STAGE`, except that it also works after another DVC was killed, and
prints errors only.
"""

from __future__ import annotations

import logging
import sys

from dvc.exceptions import DvcException
from dvc.logger import set_loggers_level
from dvc.repo import Repo

from workflow.engine.dvc import mend, one_line, treat_zombies_as_gone
from workflow.engine.events import INTERRUPTED, run_telling

SAID = ("exited with 1", "exited with 2")  # by `rca`, which has printed the reason
STOPPED = ("exited with 130", "exited with -2")  # by Ctrl-C, which DVC itself ignores meanwhile


def main() -> int:
    """Run the stage, unless there is nothing to do."""
    (name,) = sys.argv[1:]
    mend()
    treat_zombies_as_gone()
    try:
        with set_loggers_level(logging.WARNING), Repo(".", _wait_for_lock=True) as repo:
            repo.reproduce(name, single_item=True)
    except DvcException as error:
        why = one_line(": ".join(causes(error)))
        if why.endswith(STOPPED):
            return INTERRUPTED
        if not why.endswith(SAID):
            print("DVC:", why, file=sys.stderr)
        return 1
    return 0


def causes(error: BaseException | None) -> list[str]:
    """List what went wrong, from the stage's error to its root cause."""
    return [str(error), *causes(error.__cause__)] if error else []


if __name__ == "__main__":
    run_telling(main)
