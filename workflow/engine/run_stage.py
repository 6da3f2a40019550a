"""One stage of dvc.yaml, as a job: `python -m workflow.engine.run_stage STAGE`.

It is `dvc repro --single-item STAGE`, which a DVC that was killed before does not stop, and which
says what goes wrong and nothing else.
"""

from __future__ import annotations

import logging
import sys

import psutil
from dvc.exceptions import DvcException
from dvc.logger import set_loggers_level
from dvc.repo import Repo

from workflow.engine.dvc import mend

SAID = ("exited with 1", "exited with 2")  # of `rca`, which has said why


def main() -> int:
    """Run the stage, unless there is nothing to do."""
    (name,) = sys.argv[1:]
    mend()
    # DVC frees what a process held that is gone, and asks by this whether it is.
    psutil.pid_exists = runs
    try:
        with set_loggers_level(logging.WARNING), Repo(".", _wait_for_lock=True) as repo:
            repo.reproduce(name, single_item=True)
    except DvcException as error:
        why = ": ".join(causes(error))
        if not why.endswith(SAID):
            print("DVC:", why, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def runs(pid: int) -> bool:
    """Whether there is such a process, and not one that died and only was not buried yet.

    Where process 1 buries nobody, as in many containers, it never is.
    """
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def causes(error: BaseException | None) -> list[str]:
    """What was wrong, from the stage to its root."""
    return [str(error), *causes(error.__cause__)] if error else []


if __name__ == "__main__":
    sys.exit(main())
