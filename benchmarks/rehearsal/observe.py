"""Time and memory of the jobs that Snakemake starts, as /proc shows them from outside.

A job is a `workflow.engine.run_stage` or `run_shard` of the observed folder, with all processes
below it, on this machine, whether Snakemake or Slurm started it. What happens in the last moment
before a process ends, `INTERVAL` or what `pause` says, is not seen.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psutil

INTERVAL = 0.2  # seconds between two looks
SHARE = 0.1  # of its time that an observer may spend on looking; the memory of many GB takes long
RUNNERS = ("workflow.engine.run_stage", "workflow.engine.run_shard")


@dataclass
class Job:
    """What was seen of a job.

    Attributes:
        key: The process and its start, which no other job shares.
        stage: The stage of dvc.yaml.
        shard: Whether the job processes a share of the stage's images.
        wall_s: Seconds from its start to the last look.
        command_s: Seconds of these in which the stage's command ran; DVC takes the others.
        cpu_s: CPU time of all its processes, in seconds.
        peak_mb: The largest memory of all its processes together, in MB (10^6 bytes). Shared pages
            count once.
        processes: The largest number of processes.
    """

    key: str
    stage: str
    shard: bool
    wall_s: float = 0.0
    command_s: float = 0.0
    cpu_s: float = 0.0
    peak_mb: float = 0.0
    processes: int = 0


class Observer:
    """Looks at the jobs of a folder in the background, and keeps what it saw in a file.

    The file has a line for each look; the last line of a job counts. So little is lost when the
    observer is killed, and a later one adds to it.
    """

    def __init__(self, folder: Path, file: Path) -> None:
        self.folder, self.file = folder.resolve(), file
        self._jobs: dict[str, Job] = {}
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._look_until_the_end, daemon=True)

    def __enter__(self) -> Observer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()

    def _look_until_the_end(self) -> None:
        with self.file.open("a", encoding="utf-8") as file:
            spent = 0.0
            while not self._end.wait(pause(spent)):
                begun = time.thread_time()
                for process, stage, shard in jobs_in(self.folder):
                    if job := self._look(process, stage, shard):
                        file.write(json.dumps(asdict(job)) + "\n")
                file.flush()
                spent = time.thread_time() - begun

    def _look(self, process: psutil.Process, stage: str, shard: bool) -> Job | None:
        """Update what is known of a job; None if it has just ended."""
        try:
            start = process.create_time()
            job = self._jobs.setdefault(
                f"{process.pid} {start}", Job(f"{process.pid} {start}", stage, shard)
            )
            below = process.children(recursive=True)
            cpu = _seconds(process) + sum(map(_seconds_if_there, below))
            memory = sum(map(memory_mb, (process, *below)))
        except psutil.Error:
            return None
        before, job.wall_s = job.wall_s, time.time() - start
        job.command_s += job.wall_s - before if below else 0.0
        job.cpu_s = max(job.cpu_s, cpu)
        job.peak_mb = max(job.peak_mb, memory)
        job.processes = max(job.processes, 1 + len(below))
        return job


def pause(spent: float) -> float:
    """Return the seconds until the next look, after one that took `spent` CPU seconds."""
    return max(INTERVAL, spent / SHARE)


def jobs_in(folder: Path) -> Iterator[tuple[psutil.Process, str, bool]]:
    """Yield the process, the stage, and whether it is a shard, of every job of a folder."""
    for process in psutil.process_iter():
        try:
            words = process.cmdline()
            if words[1:2] == ["-m"] and words[2] in RUNNERS and Path(process.cwd()) == folder:
                yield process, words[3], words[2] == RUNNERS[1]
        except (psutil.Error, IndexError):
            continue


def tree_mb(pid: int) -> float:
    """Return the memory of a process and of all below it in MB; 0 once it has ended."""
    try:
        process = psutil.Process(pid)
        return sum(map(memory_mb, (process, *process.children(recursive=True))))
    except psutil.Error:
        return 0.0


def memory_mb(process: psutil.Process) -> float:
    """Return the memory of a process in MB, with its share of shared pages; 0 once it has ended."""
    try:
        text = Path(f"/proc/{process.pid}/smaps_rollup").read_text(encoding="ascii")
    except OSError:
        return 0.0
    kb = next((line.split()[1] for line in text.splitlines() if line.startswith("Pss:")), "0")
    return int(kb) * 1024 / 1e6


def _seconds(process: psutil.Process) -> float:
    return sum(process.cpu_times()[:4])  # its own, and that of children that have ended


def _seconds_if_there(process: psutil.Process) -> float:
    try:
        return _seconds(process)
    except psutil.Error:
        return 0.0


def read_jobs(file: Path) -> list[Job]:
    """Read what observers kept of each job; a line that was not completed is left out."""
    jobs: dict[str, Job] = {}
    for line in file.read_text(encoding="utf-8").splitlines() if file.exists() else ():
        try:
            fields: dict[str, Any] = json.loads(line)
        except ValueError:
            continue
        jobs[fields["key"]] = Job(**fields)
    return list(jobs.values())


def by_stage(jobs: list[Job]) -> dict[str, dict[str, float]]:
    """Sum up the jobs of each stage: shards, and attempts that were killed, add up.

    Memory is that of the largest job, which is what a cluster must reserve.
    """
    found: dict[str, dict[str, float]] = {}
    for stage in dict.fromkeys(job.stage for job in jobs):
        own = [job for job in jobs if job.stage == stage]
        found[stage] = {
            "jobs": len(own),
            **{
                key: round(sum(getattr(job, key) for job in own), 1)
                for key in ("wall_s", "command_s", "cpu_s")
            },
            "peak_mb": round(max(job.peak_mb for job in own)),
            "processes": max(job.processes for job in own),
        }
    return found
