"""Where the time of a run goes: each stage's work, the start of its process, DVC and Snakemake.

    python -m benchmarks.stage_times             run params.yaml in a copy, and print the table
    python -m benchmarks.stage_times --record          and record it

The run is that of `make demo` in a fresh checkout, stage after stage. With other parameters, the
record keeps a run for each experiment; give an archive by its whole path. A stage's *start* is what
Python takes to import the stage's module, measured by itself, the fastest of several processes;
*work* is the rest of its command. What else its job takes is DVC's, which hashes inputs and
outputs and writes dvc.lock. *Snakemake* is what the run takes outside of its jobs.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.rehearsal.observe import Observer, by_stage, read_jobs
from benchmarks.rehearsal.pipeline import LOG, environment_in, timed
from benchmarks.rehearsal.tables import markdown
from rca.config import load
from rca.presentation.result_files import read_json
from rca.runtime.pool import available_cores
from tools.checkout import ROOT, copy_checkout
from tools.records import origin, publish

RECORD = Path("benchmarks/results/stage_times.json")
PAGE = Path("docs/explanation/speed.md")
STARTS = 5  # processes for each start; the first one also reads the files into memory
COLUMNS = ("stage", "whole, s", "work, s", "start, s", "DVC, s", "CPU, s")


def measure(folder: Path) -> dict[str, Any]:
    """Run the pipeline in a copy of the checkout, and take its time apart.

    Raises:
        RuntimeError: The run failed.
    """
    copy_checkout(folder, ("docs/", "tests/"))
    environment = environment_in(folder, None)
    jobs = folder / "jobs.jsonl"
    with Observer(folder, jobs):
        run = timed("snakemake --cores all", folder, environment)
    if run["status"]:
        raise RuntimeError((folder / LOG).read_text(encoding="utf-8"))
    stages = by_stage(read_jobs(jobs))
    for stage, seen in stages.items():
        seen["start_s"] = round(start_of(stage.partition("@")[0], environment), 2)
    return {"run": run, "stages": stages}


def in_a_copy() -> dict[str, Any]:
    """Measure in a folder that is removed afterwards; return the record with this experiment."""
    experiment = load(ROOT / "params.yaml").experiment
    with tempfile.TemporaryDirectory() as folder:
        run = {**origin(), "cores": available_cores(), **measure(Path(folder))}
    return {**(read_json(RECORD) if RECORD.exists() else {}), experiment: run}


def start_of(stage: str, environment: Mapping[str, str], processes: int = STARTS) -> float:
    """Return the seconds that a process takes to import a stage's module, and nothing else."""
    command = [sys.executable, "-c", f"import rca.stages.{stage}"]
    taken = []
    for _ in range(processes):
        begun = time.perf_counter()
        subprocess.run(command, env=environment, check=True)
        taken.append(time.perf_counter() - begun)
    return min(taken)


def rows(content: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """Set out each stage in the order of the run, then Snakemake, then their sum."""
    found: list[tuple[str, ...]] = [COLUMNS]
    total = [0.0] * 5
    for stage, seen in content["stages"].items():
        start = min(seen["start_s"], seen["command_s"])
        work, dvc = seen["command_s"] - start, seen["wall_s"] - seen["command_s"]
        values = [seen["wall_s"], work, start, dvc, seen["cpu_s"]]
        total = [sum(pair) for pair in zip(total, values, strict=True)]
        found.append((f"`{stage}`", *(f"{value:.1f}" for value in values)))
    whole, cpu = content["run"]["wall_s"], content["run"]["cpu_s"]
    outside = (f"{whole - total[0]:.1f}", "", "", "", f"{cpu - total[4]:.1f}")
    found.append(("Snakemake", *outside))
    sums = (f"{value:.1f}" for value in total[1:4])
    found.append(("**whole run**", f"{whole:.1f}", *sums, f"{cpu:.1f}"))
    return found


def page_tables(content: Mapping[str, Any]) -> dict[str, str]:
    """Return the rows of each experiment as a Markdown table, by its mark in the page."""
    return {f"{RECORD}#{name}": markdown(rows(run)) for name, run in content.items()}


def main() -> None:
    """Measure, and print or record the table."""
    publish(__doc__ or "", RECORD, PAGE, in_a_copy, page_tables)


if __name__ == "__main__":
    main()
