"""The undisturbed run of the pipeline, with which all trials are compared."""

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
NOTE = ".stages.json"  # describes the undisturbed run for the next campaign
IN_PLACE = ("mlflow.db", "dvc.lock")  # modified in place: a trial needs its own copies


@dataclass
class Stage:
    """A stage of dvc.yaml.

    Attributes:
        name: The name in DVC.
        arguments: The arguments of `rca`.
        inputs: The files and folders of data and results that the stage reads.
        outputs: The files and folders that the stage writes.
        seconds: The time that the stage took, undisturbed.
    """

    name: str
    arguments: list[str]
    inputs: list[str]
    outputs: list[str]
    seconds: float = 0.0


@dataclass
class Whole:
    """The folder of the undisturbed run, with its stages and the digests of its files."""

    folder: Path
    stages: list[Stage]
    digests: dict[str, str]

    def stage(self, name: str) -> Stage:
        """Return the stage of that name."""
        return next(stage for stage in self.stages if stage.name == name)


def build(folder: Path) -> Whole:
    """Run every stage of the debug preset in a copy of the checkout, each in its own process.

    The trainings write a checkpoint at every step, so that there is something to resume from. An
    existing run is reused.

    Raises:
        RuntimeError: A stage failed.
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
    """List the stages as DVC resolves them, in an order in which they can run."""
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
    """Build the environment in which commands in `folder` run the code of that folder."""
    return {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PYTHONPATH": str(folder),
        "DVC_SITE_CACHE_DIR": str(folder / ".dvc/tmp/site"),
        "OMP_NUM_THREADS": "1",
    }


def run(command: list[str], folder: Path) -> None:
    """Run a command that must succeed."""
    subprocess.run(command, cwd=folder, env=environment(folder), check=True)


def digests(folder: Path, paths: list[str] | None = None) -> dict[str, str]:
    """Compute the SHA-256 of all files of data and results, or below `paths`, but dated ones."""
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
    """Copy the undisturbed run, except `without`, to a folder in which to disturb a stage.

    Args:
        whole: The undisturbed run.
        folder: The new folder.
        without: The relative paths of outputs that are to be made.
        link: Whether to share the files by hard links, except those that are modified in place.
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
