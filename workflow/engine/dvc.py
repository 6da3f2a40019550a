"""DVC after a kill: its lock files are repaired, and the locks of dead processes released.

And DVC with many files: it looks at each of them once.

DVC writes its lock files in place. If it is killed while it writes, as by the loss of a node, it
leaves a truncated file, and from then on refuses to run; seen in 3.67.1. The upstream issue is
closed: https://github.com/treeverse/dvc/issues/7615. tests/workflow/test_upstream.py fails when a
newer DVC no longer does this.
"""

from __future__ import annotations

import fcntl
import gc
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
import yaml

LOCK = Path("dvc.lock")  # the commands, inputs and outputs of the stages that were run
BROKEN = Path("dvc.lock.broken")
RWLOCK = Path(".dvc/tmp/rwlock")  # which process is reading or writing which path
GUARD = Path(".dvc/tmp/mending")
BUSY = re.compile(
    r"'(?P<path>[^']+)' is busy.*?\(PID (?P<pid>\d+)\): (?P<command>[^\n]*)", re.DOTALL
)


def mend(patience: float = 10) -> None:
    """Repair lock files that DVC did not finish writing.

    A truncated `dvc.lock` is replaced by the committed one, or removed if there is none. What DVC
    recorded since the commit is in its run cache as well, from which `dvc repro` restores such a
    stage's outputs without running it. A truncated `rwlock` is removed.

    Args:
        patience: The number of seconds that another DVC may take for writing.
    """
    GUARD.parent.mkdir(parents=True, exist_ok=True)
    _mend(_lock_is_whole, _take_committed_lock, patience)
    _mend(_rwlock_is_whole, RWLOCK.unlink, patience)


def _mend(is_whole: Callable[[], bool], replace: Callable[[], None], patience: float) -> None:
    until = time.monotonic() + patience
    while not is_whole():
        if time.monotonic() > until:
            with GUARD.open("w") as file:
                fcntl.flock(file, fcntl.LOCK_EX)
                if not is_whole():
                    replace()
            return
        time.sleep(0.2)


def _lock_is_whole() -> bool:
    from dvc.schema import COMPILED_LOCKFILE_SCHEMA
    from voluptuous import Invalid

    try:
        COMPILED_LOCKFILE_SCHEMA(yaml.load(LOCK.read_bytes(), yaml.CSafeLoader))
    except FileNotFoundError:
        return True
    except (Invalid, yaml.YAMLError):
        return False
    return True


def _take_committed_lock() -> None:
    BROKEN.write_bytes(LOCK.read_bytes())
    show = ["git", "show", f"HEAD:./{LOCK}"]
    committed = subprocess.run(show, capture_output=True, check=False)
    if committed.returncode == 0:
        partial = LOCK.with_suffix(".partial")
        partial.write_bytes(committed.stdout)
        os.replace(partial, LOCK)
    else:
        LOCK.unlink()
    print(
        f"{LOCK} was half written, by a DVC that was killed: it is {BROKEN} now, and "
        f"{'the committed one' if committed.returncode == 0 else 'none'} took its place",
        file=sys.stderr,
    )


def _rwlock_is_whole() -> bool:
    try:
        json.loads(RWLOCK.read_bytes())
    except FileNotFoundError:
        return True
    except ValueError:
        return False
    return True


def one_line(message: str) -> str:
    """Return DVC's message; that of a busy path in one line.

    DVC lists what such a path is blocked by once for each way of using it, and advises to remove
    its table of locks, which would let two processes write the same files.
    """
    if not (busy := BUSY.search(message)):
        return message
    path, number = busy["path"], busy["pid"]
    with suppress(ValueError):
        path = str(Path(path).relative_to(Path.cwd()))
    return (
        f"{path}: process {number} of an earlier run still uses it ({busy['command']}); "
        f"wait for that to end, or stop it by `kill {number}`, then run again; if it is another "
        f"program, remove {RWLOCK}"
    )


@contextmanager
def each_path_once() -> Iterator[None]:
    """Patch DVC to look at each path once within the block, in which nothing may write any.

    To tell which stages are stale, DVC 3.67.1 (dvc/output.py) lists a folder, and looks up the
    digest of every file in it, anew for each stage that writes or reads it
    (https://github.com/treeverse/dvc/issues/10604 and 9085, open).
    """
    from dvc.output import Output

    look: Callable[[Output], Any] = Output._get_hash_meta
    seen: dict[tuple[str, str, str], Any] = {}

    def look_once(output: Output) -> Any:
        path = (output.fs.protocol, output.fs_path, output.hash_name)
        if path not in seen:
            seen[path] = look(output)
        return seen[path]

    Output._get_hash_meta = look_once
    try:
        yield
    finally:
        Output._get_hash_meta = look


@contextmanager
def no_garbage_collection() -> Iterator[None]:
    """Pause Python's garbage collector within the block.

    DVC makes a few objects for each file, which are all in use. The collector looks at them over
    and over, which takes a sixth of the time at 570,000 files.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def treat_zombies_as_gone() -> None:
    """Patch psutil's `pid_exists`, by which DVC checks if a process that holds a lock is alive.

    DVC 3.67.1 (dvc/rwlock.py) releases the locks of a killed process, but not while it is a zombie
    process. Where process 1 does not reap children, as in many containers, it remains one for ever.
    No upstream issue was found.
    """
    psutil.pid_exists = is_alive


def is_alive(pid: int) -> bool:
    """Check whether there is such a process and it is not a zombie."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
