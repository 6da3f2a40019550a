"""The pipeline that nothing disturbed, against which all trials are held."""

from __future__ import annotations

import hashlib
import json
import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import yaml

from benchmarks.faults import forks
from rca.runtime.files import write_json
from tools.checkout import ROOT, copy_checkout

DATED = ("track/report.html", "track/provenance.json")  # say when and where it was made
NOTE = ".stages.json"  # of the undisturbed run, for the next campaign
IN_PLACE = ("mlflow.db", "dvc.lock")  # written where they lie: a trial needs copies


@dataclass
class Stage:
    """A stage of dvc.yaml.

    Attributes:
        name: as DVC has it.
        arguments: what stands behind `rca`.
        inputs: files and folders of data and results that it reads.
        outputs: those that it writes.
        seconds: it took, undisturbed.
    """

    name: str
    arguments: list[str]
    inputs: list[str]
    outputs: list[str]
    seconds: float = 0.0


@dataclass
class Whole:
    """The folder of the undisturbed run, and what is in it."""

    folder: Path
    stages: list[Stage]
    digests: dict[str, str]

    def stage(self, name: str) -> Stage:
        """The stage of that name."""
        return next(stage for stage in self.stages if stage.name == name)


def build(folder: Path) -> Whole:
    """Run every stage of the debug preset in a copy of the checkout, in processes of their own.

    The trainings write a checkpoint at every step, so that there is something to go on from. A run
    that is there is taken as it is.

    Raises:
        RuntimeError: a stage failed.
    """
    note = folder / NOTE
    if note.exists():
        kept = [Stage(**stage) for stage in json.loads(note.read_text(encoding="utf-8"))]
        return Whole(folder, kept, digests(folder))
    copy_checkout(folder, ("docs/", "tests/", "benchmarks/", "dvc.lock", "params.yaml"))
    params = yaml.safe_load((ROOT / "configs/debug.yaml").read_text(encoding="utf-8"))
    params["compute"]["checkpoint_steps"] = 1
    (folder / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False), encoding="utf-8")
    stages = _stages(folder)
    for stage in stages:
        began = time.monotonic()
        ended = forks.start(stage.arguments, folder).end()
        if ended.status:
            raise RuntimeError(f"{stage.name}: {ended.text}")
        stage.seconds = time.monotonic() - began
    shutil.rmtree(folder / "state")
    run(["dvc", "commit", "--force", "--quiet"], folder)
    stages = [stage for stage in stages if stage.name != "check"]
    write_json(note, [asdict(stage) for stage in stages])
    return Whole(folder, stages, digests(folder))


def _stages(folder: Path) -> list[Stage]:
    """The stages as DVC resolves them, in an order in which they can run."""
    from dvc.repo import Repo

    here = Path.cwd()
    os.chdir(folder)
    try:
        with Repo(".") as repo:
            graph = repo.index.graph
            todo, ordered = list(graph), []
            while todo:
                ready = [s for s in todo if not set(graph.successors(s)) & set(todo)]
                ordered += sorted(ready, key=lambda stage: stage.addressing)
                todo = [stage for stage in todo if stage not in ready]
            return [
                Stage(
                    stage.addressing,
                    shlex.split(stage.cmd.rpartition(" rca ")[2]),
                    [str(dep) for dep in stage.deps if str(dep).startswith(("data/", "results/"))],
                    [str(out) for out in stage.outs],
                )
                for stage in ordered
            ]
    finally:
        os.chdir(here)


def environment(folder: Path) -> dict[str, str]:
    """For commands that run in `folder` the code that lies there."""
    return {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PYTHONPATH": str(folder),
        "DVC_SITE_CACHE_DIR": str(folder / ".dvc/tmp/site"),
        "OMP_NUM_THREADS": "1",
    }


def run(command: list[str], folder: Path) -> None:
    """A command that must succeed."""
    subprocess.run(command, cwd=folder, env=environment(folder), check=True)


def digests(folder: Path, paths: list[str] | None = None) -> dict[str, str]:
    """SHA-256 of every file of data and results, or of those below `paths`, but dated ones."""
    found = {}
    for path in paths or ["data/voc12_animals_sample", "results"]:
        for file in _files(folder / path):
            name = file.relative_to(folder).as_posix()
            if not name.endswith(DATED):
                found[name] = hashlib.sha256(file.read_bytes()).hexdigest()
    return found


def _files(path: Path) -> Iterator[Path]:
    if path.is_file():
        yield path
    yield from (file for file in path.rglob("*") if file.is_file())


def copy(whole: Whole, folder: Path, *, without: list[str], link: bool = True) -> None:
    """A folder in which to disturb a stage: all of the undisturbed run's but `without`.

    Args:
        whole: the undisturbed run.
        folder: the new one.
        without: outputs that are to be made, relative paths.
        link: share the files, but for those that are written in place.
    """
    left_out = {whole.folder / name for name in without}

    def ignore(parent: str, names: list[str]) -> list[str]:
        return [name for name in names if Path(parent, name) in left_out]

    def place(source: str, target: str) -> None:
        shared = link and Path(source).name not in IN_PLACE
        (os.link if shared else shutil.copyfile)(source, target)

    shutil.copytree(
        whole.folder, folder, ignore=ignore, copy_function=place, symlinks=True, dirs_exist_ok=True
    )
