"""The stages of dvc.yaml as DVC resolves them, for the Snakefile.

The main Snakemake process asks DVC once (about 2 s). The processes that it starts on a cluster read
the answer from `.snakemake/stages/`.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
from functools import partial
from pathlib import Path
from typing import IO, Any, TypedDict

from rca.config import ConfigError, Params
from workflow.engine.dvc import each_path_once, mend, no_garbage_collection, one_line

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
    local: bool  # too small for a cluster: runs where Snakemake runs
    resources: dict[str, Any]
    shards: int  # jobs that share its images, before one merges their results
    shard_resources: dict[str, Any]  # of each of these jobs


def plan(params: Params) -> list[Stage]:
    """Return all stages, and create the marks of those that are fresh, with all they need.

    DVC decides what is fresh. Errors that can be found before anything runs are raised here. No
    mark is touched while another Snakemake runs here; its lock stops this one later.

    Raises:
        ConfigError: The run cannot finish, or DVC cannot interpret dvc.yaml.
        DataError: The user's data cannot be used.
    """
    MARKS.mkdir(parents=True, exist_ok=True)
    if not _alone():
        return read_plan()
    mend()
    from rca.stages import check  # here: the jobs, which only read the plan, start quickly

    check.run(params)
    stages, stale = _ask_dvc(params)
    for stage in stages:
        for mark in (MARKS / stage["name"], *shard_marks(stage)):
            if stage["name"] in stale:
                mark.unlink(missing_ok=True)
            else:
                mark.parent.mkdir(parents=True, exist_ok=True)
                mark.touch()
    partial = PLAN.with_suffix(".partial")
    partial.write_text(json.dumps(stages), encoding="utf-8")
    os.replace(partial, PLAN)
    return stages


def shard_marks(stage: Stage, *numbers: int | str) -> list[Path]:
    """Return the marks of the jobs that share a stage's images: of all, or of those numbered.

    There are none for a stage without shards.
    """
    if stage["shards"] == 1:
        return []
    folder = MARKS / ".shards" / stage["name"]
    return [
        folder / f"{number}of{stage['shards']}"
        for number in numbers or range(1, stage["shards"] + 1)
    ]


def read_plan() -> list[Stage]:
    """Read the stages as the main process found them.

    Raises:
        ConfigError: The main process has not found them yet.
    """
    try:
        return json.loads(PLAN.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError("another Snakemake is just starting here; wait for it") from None


def _alone() -> bool:
    """Check that no other Snakemake runs here, and then remove stale locks and marks of jobs.

    A killed Snakemake leaves its locks and its marks of incomplete jobs. DVC knows better what is
    incomplete. The events of earlier runs' jobs are removed as well.
    """
    global _guard
    _guard = (MARKS / ".guard").open("w")
    try:
        fcntl.flock(_guard, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    for leftover in (*HOME.glob("locks/*"), *HOME.glob("incomplete/**/*"), *HOME.glob("events/*")):
        if leftover.is_file():
            leftover.unlink()
    return True


def _ask_dvc(params: Params) -> tuple[list[Stage], set[str]]:
    """Return all stages in the order of dvc.yaml, and the names of those to run."""
    from dvc.exceptions import DvcException
    from dvc.logger import set_loggers_level
    from dvc.repo import Repo

    try:
        repo = Repo(".", _wait_for_lock=True)
        graph = repo.index.graph  # from a stage to those it needs
        always = [stage.addressing for stage in graph if stage.always_changed]
        with set_loggers_level(logging.WARNING):
            for name in always:  # only then does DVC know what has become stale by it
                repo.reproduce(name, single_item=True)
        with each_path_once(), no_garbage_collection():
            stale = set(repo.status()) - set(always)
    except DvcException as error:
        raise ConfigError(f"DVC: {one_line(str(error))}") from None
    while late := {a.addressing for a, b in graph.edges if b.addressing in stale} - stale:
        stale |= late
    rules = {stage: stage.addressing.replace("@", "_") for stage in graph}
    stages = []
    for stage, rule in rules.items():
        meta = stage.meta or {}
        asked = partial(_resources, **meta.get("slurm", {}))
        on_cpu, shards = params.compute.device == "cpu", int(meta.get("shards", 1))
        merges = shards > 1 and meta.get("join") != "computes"
        stages.append(
            Stage(
                name=stage.addressing,
                rule=rule,
                desc=stage.desc or "",
                log=f"logs/{params.experiment}/{rule}.log",
                needs=sorted(needed.addressing for needed in graph.successors(stage)),
                local="slurm" not in meta,
                resources=asked(on_cpu=on_cpu or merges),
                shards=shards,
                shard_resources=asked(on_cpu=on_cpu),
            )
        )
    return stages, stale


def _resources(
    *,
    on_cpu: bool,
    gpu: int = 0,
    nodes: int = 1,
    cpus_per_task: int = 1,
    mem_mb: int = 0,
    **others: Any,
) -> dict[str, Any]:
    """Compute the resources that Snakemake's Slurm plugin is given.

    Args:
        on_cpu: Whether no GPU is used.
        gpu: The number of GPUs on each node, with a process on each.
        nodes: The number of nodes. A task on each starts the node's processes itself.
        cpus_per_task: The number of cores per process.
        mem_mb: The memory per process.
        others: Further resources, passed on unchanged.
    """
    processes = max(gpu, 1)
    resources = {"cpus_per_task": cpus_per_task * processes, **others}
    if mem_mb:
        resources["mem_mb"] = mem_mb * processes
    if nodes > 1:
        # `mpi` leaves srun to the command. If `tasks_per_gpu` were unset, `tasks` would replace it.
        resources |= {"nodes": nodes, "tasks": nodes, "tasks_per_gpu": 0, "mpi": "srun"}
    if gpu and not on_cpu:
        # `gpu` is a total, which Slurm may spread unevenly over nodes; `gres` is per node.
        resources |= {"gpu": gpu} if nodes == 1 else {"gres": f"gpu:{gpu}"}
    return resources
