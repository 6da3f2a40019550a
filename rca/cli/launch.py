"""Start a training's processes: one for each GPU, on one node or on several."""

from __future__ import annotations

import logging
import os
import shutil
import signal
import socket
import sys
from collections.abc import Sequence
from pathlib import Path

from rca.cli.app import home
from rca.config import Compute, ConfigError
from rca.tracking import machine

log = logging.getLogger(__name__)

PORT_BASE, PORTS = 20000, 20000  # where the nodes of a job meet, by the job's number


def launch(compute: Compute) -> None:
    """Replace this process by `torchrun` of the same command, if that takes several processes.

    Returns in a process that torchrun started, and where one process is enough.

    Raises:
        ConfigError: Several nodes are asked for outside a Slurm job.
    """
    if compute.gpus * compute.nodes == 1 or "TORCHELASTIC_RUN_ID" in os.environ:
        return
    command = torchrun(compute, sys.argv[1:], os.environ.get("SLURM_JOB_ID"))
    log.info("%s", " ".join(command))
    # A warning before the time limit is for the processes that train; it would end the launcher.
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    os.execvp(command[0], command)


def note_machine(compute: Compute, weights: Path) -> None:
    """Record which machine trained `weights`, for `track`; of several nodes, the first."""
    if os.environ.get("RANK", "0") == "0":
        machine.note(weights, machine.describe(gpus=compute.device != "cpu"), home())


def torchrun(compute: Compute, arguments: Sequence[str], job: str | None) -> list[str]:
    """Build the command that starts `python -m rca ARGUMENTS` in all processes.

    Args:
        compute: The section that asks for `gpus` processes on each of `nodes` nodes.
        arguments: The command line after `rca`.
        job: The number of the Slurm job; None outside one.

    Raises:
        ConfigError: Several nodes are asked for outside a Slurm job.
    """
    runner = [sys.executable, "-m", "torch.distributed.run", f"--nproc-per-node={compute.gpus}"]
    program = ["-m", "rca", *arguments]
    if compute.nodes == 1:
        return [*runner, "--standalone", *program]
    if job is None or not shutil.which("srun"):
        raise ConfigError(
            f"compute.nodes: {compute.nodes}, but this is not a Slurm job; "
            "run `snakemake --cores all --profile slurm`, or set compute.nodes: 1"
        )
    nodes = [f"--nodes={compute.nodes}", f"--ntasks={compute.nodes}", "--ntasks-per-node=1"]
    cores = f"--cpus-per-task={compute.gpus * compute.threads}"
    meeting = f"{socket.gethostname()}:{PORT_BASE + int(job) % PORTS}"
    return [
        "srun",
        *nodes,
        cores,
        *runner,
        f"--nnodes={compute.nodes}",
        "--rdzv-backend=c10d",
        f"--rdzv-endpoint={meeting}",
        f"--rdzv-id={job}",
        *program,
    ]
