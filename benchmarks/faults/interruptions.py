"""Stages disturbed while they run, then run again: they must end with the undisturbed outputs."""

from __future__ import annotations

import os
import random
import resource
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from benchmarks.faults import forks
from benchmarks.faults.forks import Ended, Fork
from benchmarks.faults.whole import Stage, Whole, copy, digests

MB = 2**20
DAY = 86400
DISK = 200  # MB of the small disk
FULL = "disk full"
MESSAGE = 1000  # bytes; what a process prints goes to a file as well


class Outcome(NamedTuple):
    """The outcome of a trial.

    Attributes:
        word: `identical`, `refused` (then nothing was lost), or what went wrong.
        text: The output or the details, where there is something to report.
    """

    word: str
    text: str = ""


class Trial(NamedTuple):
    """A stage in a folder of its own, ready to run.

    Attributes:
        whole: The undisturbed run.
        stage: The stage to be disturbed; its outputs do not exist yet.
        folder: The trial's folder.
        draws: The trial's random numbers.
    """

    whole: Whole
    stage: Stage
    folder: Path
    draws: random.Random

    def start(self, before: Callable[[], object] = int) -> Fork:
        """Start the stage in a new process that calls `before` first."""
        return forks.start(self.stage.arguments, self.folder, before)

    def moment(self) -> float:
        """Draw a random moment while the stage runs, in seconds since its start."""
        return self.draws.uniform(0, self.stage.seconds)

    def wanted(self) -> dict[str, str]:
        """Compute the digests of the stage's outputs in the undisturbed run."""
        return digests(self.whole.folder, self.stage.outputs)

    def outcome(self, first: Ended | None = None) -> Outcome:
        """Run the stage undisturbed, and compare its outputs with those of the undisturbed run.

        Args:
            first: The disturbed process. If it ended well, its outputs count, without another run.
        """
        if first is not None and "Traceback" in first.text:
            return Outcome("traceback", first.text)
        made, wanted = digests(self.folder, self.stage.outputs), self.wanted()
        if strange := [name for name, digest in made.items() if wanted.get(name) != digest]:
            return Outcome("half an output", ", ".join(strange))
        if first is None or first.status:
            again = self.start().end()
            if again.status:
                return Outcome("did not recover", again.text)
        if digests(self.folder, self.stage.outputs) != wanted:
            return Outcome("other bytes")
        if lying := sorted((self.folder / "results").rglob("*.partial")):
            return Outcome("left lying", str(lying))
        return Outcome("identical")


def killed(trial: Trial, number: int = signal.SIGKILL) -> Outcome:
    """Kill the stage one to three times, at random moments."""
    ended = None
    for _ in range(trial.draws.choice((1, 1, 2, 3))):
        process = trial.start()
        ended = process.wait(trial.moment())
        if ended is None:
            process.kill(number)
            ended = process.end()
        if ended.status == 0:
            break
    return trial.outcome(ended)


def terminated(trial: Trial) -> Outcome:
    """Ask the stage to end, as a batch system does."""
    return killed(trial, signal.SIGTERM)


def file_size(trial: Trial) -> Outcome:
    """Allow no file to be larger than a random size, in which a message has room."""
    most = max(_sizes(trial.whole.folder, trial.stage.outputs))
    limit = max(trial.draws.randrange(most + 1), MESSAGE)
    ended = trial.start(lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))).end()
    return _refused_or_done(trial, ended)


def memory(trial: Trial) -> Outcome:
    """Limit the process to a random amount of memory beyond what it has when it starts."""
    more = trial.draws.randrange(8, 256) * MB

    def limit() -> None:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
        most = pages * resource.getpagesize() + more
        resource.setrlimit(resource.RLIMIT_AS, (most, most))

    ended = trial.start(limit).end()
    # A C++ library may abort the process, as the system does where no limit is set.
    return trial.outcome(ended) if ended.status < 0 else _refused_or_done(trial, ended)


def full_disk(trial: Trial) -> Outcome:
    """Run the stage on a disk of its own, with too little room or just enough for its outputs."""
    needed = sum(_sizes(trial.whole.folder, trial.stage.outputs))
    ballast = trial.folder / "ballast"
    room = trial.draws.randrange(needed + 1)
    with ballast.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, max(_free(trial.folder) - room, 1))
    ended = trial.start().end()
    ballast.unlink()
    return _refused_or_done(trial, ended)


def clock(trial: Trial) -> Outcome:
    """Give all files random times, and set the clock back while the stage runs."""
    now = time.time()
    for path in (*trial.folder.glob("data/**/*"), *trial.folder.glob("results/**/*")):
        moment = now + trial.draws.uniform(-1000, 1000) * DAY
        os.utime(path, (moment, moment))
    turn, real = time.monotonic() + trial.moment(), time.time

    def set_back() -> None:
        time.time = lambda: real() - DAY * (time.monotonic() > turn)

    ended = trial.start(set_back).end()
    if ended.status:
        return Outcome("failed", ended.text)
    return trial.outcome(ended)


def twice(trial: Trial) -> Outcome:
    """Start a second process of the same stage in the same folder while the first is running."""
    first = trial.start()
    time.sleep(trial.moment() * trial.draws.choice((0, 1)))
    second = trial.start()
    both = [first.end(), second.end()]
    for ended in both:
        if ended.status and not ended.refused:
            return Outcome("traceback" if "Traceback" in ended.text else "failed", ended.text)
    return trial.outcome(min(both, key=lambda ended: ended.status))


def _refused_or_done(trial: Trial, ended: Ended) -> Outcome:
    if ended.status and not ended.refused:
        return Outcome("traceback" if "Traceback" in ended.text else "failed", ended.text)
    return trial.outcome(ended)


def _sizes(folder: Path, paths: list[str]) -> list[int]:
    return [(folder / name).stat().st_size for name in digests(folder, paths)]


def _free(folder: Path) -> int:
    room = os.statvfs(folder)
    return room.f_bavail * room.f_frsize


KINDS: dict[str, Callable[[Trial], Outcome]] = {
    "killed (-9)": killed,
    "terminated": terminated,
    "file too large": file_size,
    "out of memory": memory,
    FULL: full_disk,
    "clock set back": clock,
    "two at once": twice,
}


def own_disk(folder: Path) -> bool:
    """Mount a small disk at `folder`; return whether that worked."""
    command = ["mount", "-t", "tmpfs", "-o", f"size={DISK}m", "tmpfs", str(folder)]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def run(whole: Whole, stage: Stage, kind: str, draws: random.Random, folder: Path) -> Outcome:
    """Run one trial in `folder`, which is removed.

    Where no disk can be mounted, a limit on the size of files takes the place of a full disk.
    """
    folder.mkdir()
    disk = kind == FULL and own_disk(folder)
    if kind == FULL and not disk:
        kind = "file too large"
    try:
        copy(whole, folder, without=[*stage.outputs, ".dvc/cache"], link=not disk)
        return KINDS[kind](Trial(whole, stage, folder, draws))
    finally:
        if disk:
            subprocess.run(["umount", "--lazy", str(folder)], check=True)
        shutil.rmtree(folder, ignore_errors=True)
        for log in folder.parent.glob(f"{folder.name}.*.log"):
            log.unlink()
