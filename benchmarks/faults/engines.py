"""Disturbances of the engines, `dvc repro` and Snakemake, while a stage is running."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import psutil
import yaml

from benchmarks.faults.damage import WAYS, damage
from benchmarks.faults.interruptions import DAY, Outcome
from benchmarks.faults.whole import Stage, Whole, copy, digests, environment

ENGINES = {"dvc repro": ["dvc", "repro"], "snakemake": ["snakemake", "--cores", "all"]}
KINDS = (
    "node lost",
    "controller lost",
    "stage lost",
    "file damaged",
    "clock set back",
    "two at once",
)
STAGES = ("index", "train_cam", "readout", "crf", "train_seg@pseudo", "infer_seg@pseudo")
START, LATEST = 1.0, 14.0  # seconds until a disturbance: an engine needs some to start
PATIENCE = 300  # seconds for one call of an engine
# How an engine refuses while a stage of an earlier one still runs: `rca`, our adapter, DVC itself.
STILL_RUNS = ("is writing it", "of an earlier run still uses it", "it is being blocked by")
HALF_A_LOCK = "'./dvc.lock' validation failed"


def run(whole: Whole, number: int, draws: random.Random, folder: Path) -> tuple[str, str, Outcome]:
    """Run one trial in `folder`, which is removed; return its kind, the stage and the outcome."""
    name = [*ENGINES][number % len(ENGINES)]
    kind = KINDS[number // len(ENGINES) % len(KINDS)]
    stage = whole.stage(draws.choice(STAGES))
    gone = [] if kind == "file damaged" else stage.outputs
    copy(whole, folder, without=[*gone, ".dvc/cache"])
    target = stage.name if name == "dvc repro" else stage.name.replace("@", "_")
    trial = Trial(whole, stage, folder, [*ENGINES[name], target], draws)
    try:
        return f"{name}: {kind}", stage.name, trial.disturbed(kind)
    finally:
        for process in trial.processes():
            process.kill()
        shutil.rmtree(folder, ignore_errors=True)


class Trial(NamedTuple):
    """An engine that is asked for one stage, in a folder of its own.

    Attributes:
        whole: The undisturbed run.
        stage: The stage to be made.
        folder: The trial's folder.
        command: The engine's command.
        draws: The trial's random numbers.
    """

    whole: Whole
    stage: Stage
    folder: Path
    command: list[str]
    draws: random.Random

    def disturbed(self, kind: str) -> Outcome:
        """Disturb the engine, let it do its work, and compare that with the undisturbed run."""
        if kind == "file damaged":
            self._damage()
        elif kind == "clock set back":
            self._set_back()
        elif kind == "two at once":
            both = [self.start(), self.start()]
            if wrong := [text for text in map(self.end, both) if "Traceback" in text]:
                return Outcome("traceback", wrong[0])
        else:
            text = self._killed(kind)
            if "Traceback" in text:
                return Outcome("traceback", text)
        text, status = self._in_peace()
        if status:
            return Outcome("did not recover", text)
        if digests(self.folder, self.stage.outputs) != digests(
            self.whole.folder, self.stage.outputs
        ):
            return Outcome("other bytes", text)
        if self._noted(self.folder) != self._noted(self.whole.folder):
            return Outcome("other books", text)
        return Outcome("identical")

    def _in_peace(self) -> tuple[str, int]:
        """Run the engine undisturbed; return what it prints, and its exit status.

        A stage that outlived its killed engine may make the new one refuse at first: it is called
        once more, after that stage has ended. `dvc repro` refuses a `dvc.lock` that a killed DVC
        did not finish writing: it is called once more with the one of before, as
        docs/guides/resume.md advises.
        """
        text, status = "", 1
        for _ in range(2):
            process = self.start()
            text, status = self.end(process), process.returncode
            if not status:
                break
            if any(sign in text for sign in STILL_RUNS):
                psutil.wait_procs([*self.processes()], timeout=PATIENCE)
            elif HALF_A_LOCK in text:
                shutil.copyfile(self.whole.folder / "dvc.lock", self.folder / "dvc.lock")
            else:
                break
        return text, status

    def start(self) -> subprocess.Popen[str]:
        """Start the engine in a process group of its own."""
        return subprocess.Popen(
            self.command,
            cwd=self.folder,
            env=environment(self.folder),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def end(self, process: subprocess.Popen[str]) -> str:
        """Wait for the engine's end, or kill it in time; return what it printed."""
        try:
            return process.communicate(timeout=PATIENCE)[0]
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            return f"{process.communicate()[0]}\nkilled after {PATIENCE} seconds"

    def processes(self) -> Iterator[psutil.Process]:
        """Yield all processes that run in the folder, whoever started them."""
        for process in psutil.process_iter():
            try:
                if Path(process.cwd()).is_relative_to(self.folder):
                    yield process
            except (psutil.Error, OSError):
                continue

    def _killed(self, kind: str) -> str:
        """Kill all processes, the engine or the stage at a random moment; return the output."""
        process = self.start()
        try:
            process.wait(self.draws.uniform(START, LATEST))
        except subprocess.TimeoutExpired:
            if kind == "node lost":
                os.killpg(process.pid, signal.SIGKILL)
            elif kind == "controller lost":
                process.kill()
                process.wait()
                return ""  # its stage keeps running, and nothing waits for its end
            else:
                self._kill_stage()
        return self.end(process)

    def _kill_stage(self, seconds: float = 20) -> None:
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            for process in self.processes():
                name = Path((process.cmdline() or [""])[:2][-1]).name
                if name == "rca":
                    process.kill()
                    return
            time.sleep(0.05)

    def _damage(self) -> None:
        files = sorted(digests(self.folder, [p for p in self.stage.inputs if "results" in p]))
        files = files or sorted(digests(self.folder, self.stage.inputs))
        damage(self.folder / self.draws.choice(files), self.draws.choice([*WAYS]), self.draws)

    def _set_back(self) -> None:
        now = time.time()
        for path in (*self.folder.glob("data/**/*"), *self.folder.glob("results/**/*")):
            moment = now + self.draws.uniform(-1000, 1000) * DAY
            os.utime(path, (moment, moment))

    def _noted(self, folder: Path) -> object:
        books = yaml.safe_load((folder / "dvc.lock").read_text(encoding="utf-8"))
        return books["stages"].get(self.stage.name)
