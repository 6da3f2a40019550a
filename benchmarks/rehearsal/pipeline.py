"""One rehearsal: a fabricated data set in a copy of the checkout, and every stage by Snakemake."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import yaml

from benchmarks.method_variants import overridden
from benchmarks.rehearsal.fabricate import Size, write_archive
from benchmarks.rehearsal.observe import Observer, by_stage, pause, read_jobs, tree_mb
from rca.config import Params
from rca.runtime.files import write_text
from tools.checkout import ROOT, copy_checkout

PRESET = Path("configs/debug.yaml")
DATA, EXPERIMENT = "fabricated", "rehearsal"
ARCHIVE, DIGEST = Path("fabricated.tar"), Path("fabricated.sha256")
JOBS = Path("jobs.jsonl")
LOG = Path("snakemake.log")
SNAKEMAKE = "snakemake --cores {cores}"
SLURM = "--profile slurm --slurm-init-seconds-before-status-checks 2"
# What differs from the preset: one epoch with every part of the method, and the sizes of the
# report and the bootstrap that the presets for VOC and COCO have.
OVERRIDES: dict[str, Any] = {
    "experiment": EXPERIMENT,
    "train_cam.epochs": 1,
    "train_cam.batch_size": 16,
    "train_cam.rsc.start_epoch": 0,
    "train_cam.rsa.start_epoch": 0,
    "train_cam.attention.start_epoch": 0,
    "train_seg.epochs": 1,
    "train_seg.batch_size": 16,
    "index.classes": None,
    "index.limit": None,
    "crf.processes": 0,
    "evaluate.processes": 0,
    "evaluate.resamples": 1000,
    "report.panels": 1500,
    "report.training_panels": 60,
}


def parameters(preset: Mapping[str, Any], digest: str, shards: int) -> dict[str, Any]:
    """Return the preset's parameters with the fabricated data set and `OVERRIDES`."""
    download = {
        "source": "archive",
        "name": DATA,
        "archive": str(ARCHIVE),
        "sha256": digest,
    }
    changes = {"download": download, **OVERRIDES, "compute.shards": shards}
    return overridden(Params.model_validate(preset), changes).model_dump(mode="json")


def prepare(folder: Path, size: Size, shards: int, seed: int) -> None:
    """Copy the checkout and fabricate the data set, unless an earlier call did."""
    if (folder / "params.yaml").exists():
        return
    copy_checkout(folder, ("docs/", "tests/", "dvc.lock", "params.yaml"))
    digest = write_archive(folder / ARCHIVE, size, seed)
    preset = yaml.safe_load((ROOT / PRESET).read_text(encoding="utf-8"))
    text = yaml.safe_dump(parameters(preset, digest, shards), sort_keys=False)
    write_text(folder / "params.yaml", text)  # last: it says that all is there


def rehearse(
    folder: Path, size: Size, *, cores: str, shards: int, seed: int, slurm: Mapping[str, str] | None
) -> dict[str, Any]:
    """Run the pipeline, or the rest of it after a kill, and return what it took.

    Args:
        folder: The folder of the copy; left in place.
        size: The size of the data set.
        cores: The value of Snakemake's `--cores`.
        shards: The number of jobs that share a stage's images.
        seed: The seed of the data set.
        slurm: The environment of a cluster on this machine whose jobs the stages are, or None.

    Raises:
        RuntimeError: Snakemake failed, or a stage ran while nobody looked.
    """
    prepare(folder, size, shards, seed)
    resumed = (folder / JOBS).exists()
    environment = environment_in(folder, slurm)
    command = SNAKEMAKE.format(cores=cores) + (f" {SLURM}" if slurm else "")
    with Observer(folder, folder / JOBS):
        run = timed(command, folder, environment)
    _refuse_failure(folder, run)
    stages = with_outputs(by_stage(read_jobs(folder / JOBS)), folder)
    books = {
        "dvc_lock_bytes": (folder / "dvc.lock").stat().st_size,
        "noop_snakemake": timed(SNAKEMAKE.format(cores=cores), folder, environment),
        "dvc_status": timed("dvc status", folder, environment),
        "doctor": timed(f"rca data doctor data/{DATA}", folder, environment),
        "metadata": count([folder / name for name in (".dvc/tmp", ".snakemake", "logs")]),
        "disk": {
            name: count([folder / name])
            for name in (f"data/{DATA}", "results", ".dvc/cache", "state")
        },
    }
    return {**asdict(size), "shards": shards, "slurm": bool(slurm), "stages": stages,
            "snakemake": run, "resumed": resumed, "books": books}  # fmt: skip


def environment_in(folder: Path, slurm: Mapping[str, str] | None) -> dict[str, str]:
    """Build the environment in which commands run the code of `folder`, a thread per process."""
    found = dict(slurm or os.environ)
    return {
        **found,
        "PATH": f"{Path(sys.executable).parent}:{found['PATH']}",
        "PYTHONPATH": str(folder),
        "DVC_SITE_CACHE_DIR": str(folder / ".dvc/tmp/site"),
        "OMP_NUM_THREADS": "1",
    }


def end_on_signals() -> None:
    """Have SIGTERM end this process by an exception, and SIGINT reach the commands it starts.

    What a script starts in the background ignores SIGINT, and so would all below it.
    """
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    signal.signal(signal.SIGINT, signal.default_int_handler)


def timed(command: str, folder: Path, environment: Mapping[str, str]) -> dict[str, float]:
    """Run a command; return its status, seconds, CPU seconds, and its peak memory.

    The memory is that of all its processes together, looked at as `Observer` does. What the command
    prints is added to `LOG`.
    """
    start, peak, ended = time.monotonic(), 0.0, 0
    with (folder / LOG).open("a") as log:
        process = subprocess.Popen(
            shlex.split(command), cwd=folder, env=environment, stdout=log, stderr=log,
            start_new_session=True,
        )  # fmt: skip
        try:
            while not ended:
                begun = time.thread_time()
                peak = max(peak, tree_mb(process.pid))
                time.sleep(pause(time.thread_time() - begun))
                ended, status, usage = os.wait4(process.pid, os.WNOHANG)
        except BaseException:  # Ctrl-C or SIGTERM: nothing may run on while nobody looks
            # As Ctrl-C does it. On SIGTERM, Snakemake would wait for the jobs that it has in Slurm.
            os.killpg(process.pid, signal.SIGINT)
            process.wait()
            raise
    process.returncode = os.waitstatus_to_exitcode(status)
    return {
        "status": process.returncode,
        "wall_s": round(time.monotonic() - start, 1),
        "cpu_s": round(usage.ru_utime + usage.ru_stime, 1),
        "peak_mb": round(peak),
    }


def _refuse_failure(folder: Path, run: Mapping[str, float]) -> None:
    if run["status"]:
        last = (folder / LOG).read_text(encoding="utf-8", errors="replace").splitlines()[-20:]
        raise RuntimeError("\n".join([f"{folder}: Snakemake failed; {folder / LOG} ends:", *last]))


def with_outputs(
    stages: Mapping[str, Mapping[str, float]], folder: Path
) -> dict[str, dict[str, float]]:
    """Add the number and megabytes of the files that each stage wrote, as dvc.lock has them.

    Raises:
        RuntimeError: A stage is in dvc.lock that was not seen running.
    """
    lock = yaml.load((folder / "dvc.lock").read_bytes(), yaml.CSafeLoader)["stages"]
    if unseen := lock.keys() - stages.keys() - {"check"}:
        raise RuntimeError(
            f"{folder}: {', '.join(sorted(unseen))} ran while nobody measured, so the rehearsal "
            "must start anew: remove this folder"
        )
    return {
        stage: {
            **stages[stage],
            "files": sum(out.get("nfiles", 1) for out in entry["outs"]),
            "megabytes": round(sum(out["size"] for out in entry["outs"]) / 1e6, 2),
        }
        for stage, entry in lock.items()
        if stage != "check"
    }


def count(paths: Iterable[Path]) -> dict[str, float]:
    """Count the files below some folders, and the megabytes that they occupy on the disk."""
    files = blocks = 0
    for path in paths:
        for parent, _, names in os.walk(path):
            for name in names:
                files += 1
                blocks += Path(parent, name).lstat().st_blocks
    return {"files": files, "megabytes": round(blocks * 512 / 1e6, 2)}


def remove(folder: Path) -> None:
    """Remove a finished rehearsal."""
    shutil.rmtree(folder)
