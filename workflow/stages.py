"""The stages of dvc.yaml as DVC resolves them, for the Snakefile.

The main Snakemake process asks DVC once (about 2 s); the processes it starts on a cluster read the
answer from `.snakemake/stages/`.
"""

from __future__ import annotations

import fcntl
import json
import os
from pathlib import Path
from typing import IO, Any, TypedDict

from rca.config import ConfigError

HOME = Path(".snakemake")
MARKS = HOME / "stages"
PLAN = MARKS / ".plan.json"

_guard: IO[str] | None = None  # held open, and so locked, until the process ends


class Stage(TypedDict):
    """A stage of dvc.yaml; each item of a `foreach` is a stage of its own."""

    name: str
    rule: str
    desc: str
    log: str
    needs: list[str]
    resources: dict[str, Any]


def plan(experiment: str) -> list[Stage]:
    """All stages; those that DVC finds fresh, with all they need, get their mark.

    Does not touch a mark while another Snakemake is at work; that one's lock stops this one later.

    Raises:
        ConfigError: DVC cannot make sense of dvc.yaml.
    """
    MARKS.mkdir(parents=True, exist_ok=True)
    if not _alone():
        return read_plan()
    stages, stale = _ask_dvc(experiment)
    for stage in stages:
        mark = MARKS / stage["name"]
        if stage["name"] in stale:
            mark.unlink(missing_ok=True)
        else:
            mark.touch()
    partial = PLAN.with_suffix(".partial")
    partial.write_text(json.dumps(stages), encoding="utf-8")
    os.replace(partial, PLAN)
    return stages


def read_plan() -> list[Stage]:
    """What the main process found out.

    Raises:
        ConfigError: it has not found out yet.
    """
    try:
        return json.loads(PLAN.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError("another Snakemake is just starting here; wait for it") from None


def _alone() -> bool:
    """Whether no other Snakemake runs here; then its locks and marks of unfinished jobs go.

    They are what a killed Snakemake leaves. DVC knows better what is unfinished.
    """
    global _guard
    _guard = (MARKS / ".guard").open("w")
    try:
        fcntl.flock(_guard, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    for leftover in (*HOME.glob("locks/*"), *HOME.glob("incomplete/**/*")):
        if leftover.is_file():
            leftover.unlink()
    return True


def _ask_dvc(experiment: str) -> tuple[list[Stage], set[str]]:
    """All stages in the order of dvc.yaml, and the names of those to run."""
    from dvc.exceptions import DvcException
    from dvc.repo import Repo

    try:
        repo = Repo(".", _wait_for_lock=True)
        graph = repo.index.graph  # from a stage to those it needs
        stale = set(repo.status())
    except DvcException as error:
        raise ConfigError(f"DVC: {error}") from None
    while late := {a.addressing for a, b in graph.edges if b.addressing in stale} - stale:
        stale |= late
    rules = {stage: stage.addressing.replace("@", "_") for stage in graph}
    stages = [
        Stage(
            name=stage.addressing,
            rule=rule,
            desc=stage.desc or "",
            log=f"logs/{experiment}/{rule}.log",
            needs=sorted(needed.addressing for needed in graph.successors(stage)),
            resources=(stage.meta or {}).get("slurm", {}),
        )
        for stage, rule in rules.items()
    ]
    return stages, stale
