"""One process at a time makes a result: two would take each other's unfinished files away."""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from rca.config import ConfigError

log = logging.getLogger(__name__)

LOCKS = Path("state/running")
PATIENCE = 20  # seconds: a process that was told to end may need some
BUSY = (errno.EACCES, errno.EAGAIN)


@contextmanager
def turn(out: Path, share: Path | None = None) -> Iterator[None]:
    """Keep other processes in this folder from making `out`, or the same share of it, meanwhile.

    Shares of one result can be made side by side, but not while a process makes the whole. Of the
    processes of one training, only rank 0 takes the lock. The lock is released when its process
    ends, however that happens. On a file system without locks, none is taken. A lock that another
    machine holds is waited for, then ignored: on a network file system it may outlive that machine.

    Args:
        out: The result.
        share: The part of the result that a shard makes; None for the whole.

    Raises:
        ConfigError: Another process on this machine is still making it after some seconds.
    """
    if os.environ.get("RANK", "0") != "0":
        yield
    elif share is None:
        with _locked(out, fcntl.LOCK_EX):
            yield
    else:
        with _locked(out, fcntl.LOCK_SH), _locked(share, fcntl.LOCK_EX):
            yield


@contextmanager
def _locked(out: Path, kind: int) -> Iterator[None]:
    place = LOCKS.joinpath(*out.absolute().parts[1:]).with_name(f"{out.absolute().name}.lock")
    place.parent.mkdir(parents=True, exist_ok=True)
    with place.open("a+", encoding="utf-8") as file:
        _acquire(file, kind, out)
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()}")
        file.flush()
        yield


def _acquire(file: IO[str], kind: int, out: Path) -> None:
    """Lock `file` for this process; unlike by `flock`, children that outlive it do not keep it."""
    until = time.monotonic() + PATIENCE
    told = False
    while True:
        try:
            fcntl.lockf(file, kind | fcntl.LOCK_NB)
            return
        except OSError as error:
            if error.errno not in BUSY:
                return
        file.seek(0)
        other = file.read() or "another process"
        if time.monotonic() > until:
            if not other.endswith(f" on {socket.gethostname()}"):
                log.warning("%s: %s may still be writing it, or has ended; continuing", out, other)
                return
            raise ConfigError(
                f"{out}: {other} is writing it; wait for that to end, or stop it, then run again"
            )
        if not told:
            log.info("waiting for %s, which is writing %s", other, out)
            told = True
        time.sleep(0.1)
