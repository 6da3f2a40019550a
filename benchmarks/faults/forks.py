"""`rca` in forked processes: real processes to kill, without the seconds that imports take.

The parent process has imported all that a stage needs, and has never computed anything. A fork of
it is therefore a fresh `rca` with its libraries loaded.
"""

from __future__ import annotations

import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from rca import cli

PATIENCE = 120  # seconds; a stage of the debug preset takes about two


@dataclass
class Ended:
    """A process that has ended.

    Attributes:
        status: The exit status; if negative, minus the signal that killed the process.
        text: All that the process printed.
    """

    status: int
    text: str

    @property
    def refused(self) -> bool:
        """Whether it ended with status 2 and exactly one `rca: ` message, without a traceback."""
        said = [line for line in self.text.splitlines() if line.startswith("rca: ")]
        return self.status == 2 and len(said) == 1 and "Traceback" not in self.text


@dataclass
class Fork:
    """A running process."""

    pid: int
    log: Path

    def kill(self, number: int) -> None:
        """Send a signal to the process and to those that it started."""
        os.killpg(self.pid, number)

    def wait(self, seconds: float = PATIENCE) -> Ended | None:
        """Wait for the process to end; return None if it still runs after `seconds`."""
        until = time.monotonic() + seconds
        while True:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                text = self.log.read_text(encoding="utf-8", errors="replace")
                return Ended(os.waitstatus_to_exitcode(status), text)
            if time.monotonic() >= until:
                return None
            time.sleep(0.005)

    def end(self) -> Ended:
        """Wait for the process to end; kill it if that takes too long."""
        ended = self.wait()
        if ended is None:
            self.kill(signal.SIGKILL)
            ended = self.wait()
            assert ended is not None
            ended.text += f"\nkilled after {PATIENCE} seconds"
        return ended


def preload() -> None:
    """Import what stages import, so that forks have it loaded."""
    import pydensecrf.densecrf  # noqa: F401

    from rca import stages
    from rca.tracking import store

    for file in sorted(Path(stages.__file__ or "").parent.glob("*.py")):
        __import__(f"rca.stages.{file.stem}")
    store.connect("sqlite://")


def start(arguments: Sequence[str], folder: Path, before: Callable[[], object] = int) -> Fork:
    """Run `rca ARGUMENTS` in `folder`, after calling `before` in the new process."""
    # Outside `folder`, whose disk may be full.
    log = folder.parent / f"{folder.name}.{time.monotonic_ns()}.log"
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid:
        return Fork(pid, log)
    status = 1
    try:
        os.setpgid(0, 0)
        os.chdir(folder)
        output = os.open(log, os.O_WRONLY | os.O_CREAT)
        os.dup2(output, 1)
        os.dup2(output, 2)
        sys.argv = ["rca", *arguments]
        before()
        cli.main()
        status = 0
    except SystemExit as error:
        status = error.code if isinstance(error.code, int) else int(error.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
