"""A dvc.lock that can be read, whenever DVC was killed."""

from __future__ import annotations

import fcntl
import subprocess
import sys
import time
from pathlib import Path

import yaml

from rca.files import write_text

LOCK = Path("dvc.lock")
BROKEN = Path("dvc.lock.broken")


def mend(guard: Path, patience: float = 10) -> None:
    """Put the committed `dvc.lock`, or none, in the place of one that DVC did not finish writing.

    DVC writes it in place: killed just then, as by the loss of a node, it leaves half a file, and
    from there on refuses to do anything. What it had noted since the commit stands in its run cache
    as well, from which `dvc repro` takes such a stage's outputs without running it.

    Args:
        guard: file to lock, against others that mend.
        patience: seconds that another DVC may take for writing.
    """
    until = time.monotonic() + patience
    while not _whole():
        if time.monotonic() > until:
            break
        time.sleep(0.2)
    else:
        return
    with guard.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        if _whole():
            return
        LOCK.replace(BROKEN)
        committed = subprocess.run(
            ["git", "show", f"HEAD:./{LOCK}"], capture_output=True, text=True, check=False
        )
        if committed.returncode == 0:
            write_text(LOCK, committed.stdout)
    print(
        f"{LOCK} was half written, by a DVC that was killed: it is {BROKEN} now, and "
        f"{'the committed one' if committed.returncode == 0 else 'none'} took its place",
        file=sys.stderr,
    )


def _whole() -> bool:
    from dvc.schema import COMPILED_LOCKFILE_SCHEMA
    from voluptuous import Invalid

    try:
        COMPILED_LOCKFILE_SCHEMA(yaml.load(LOCK.read_bytes(), yaml.CSafeLoader))
    except FileNotFoundError:
        return True
    except (Invalid, yaml.YAMLError):
        return False
    return True
