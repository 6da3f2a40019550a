"""The cluster of `tools/slurm_cluster.sh`, for tests."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).parents[2]
PATIENCE = 600  # seconds; all that is waited for takes some 100 at most


class Cluster:
    """A cluster in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environment = {
            **{key: value for key, value in os.environ.items() if not key.startswith("SLURM")},
            "SLURM_CLUSTER": str(folder),
            "SLURM_CLUSTER_PORT": "17817",
            "SLURM_CONF": str(folder / "slurm.conf"),
            "PATH": f"{folder / 'bin'}:{Path(sys.executable).parent}:{os.environ['PATH']}",
        }

    def do(self, *command: str) -> None:
        subprocess.run(
            [ROOT / "tools/slurm_cluster.sh", *command], env=self.environment, check=True
        )

    def client(self, *command: str) -> str:
        """What a client of Slurm says."""
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True)
        assert done.returncode == 0, f"{command}: {done.stderr}"
        return done.stdout

    def wait_until(self, holds: Callable[[], bool], log: Path) -> None:
        """Wait; say what the cluster and `log` say if it takes too long."""
        end = time.monotonic() + PATIENCE
        while not holds():
            assert time.monotonic() < end, f"{self.status()}\n{log}:\n{log.read_text()}"
            time.sleep(0.2)

    def save_jobs(self, job: str) -> None:
        """Wait until the controller has written all jobs of this moment to disk.

        It writes a few seconds after a change. One that is killed earlier does not know, once it is
        back, that a job runs: it starts the job a second time, and one of the two, or both, die.

        Args:
            job: The id of a running job; a change to it makes the controller write.
        """
        saved = self.folder / "state/job_state"
        for change in "12":  # the first write may have been under way before this moment
            before = saved.stat().st_mtime_ns
            self.client("scontrol", "update", f"JobId={job}", f"AdminComment={change}")
            self.wait_until(
                lambda before=before: saved.stat().st_mtime_ns != before,
                self.folder / "log/slurmctld.log",
            )

    def status(self) -> str:
        said = [
            subprocess.run(command, env=self.environment, capture_output=True, text=True)
            for command in (
                [ROOT / "tools/slurm_cluster.sh", "status"],
                ["tail", "-n", "50", self.folder / "log/slurmctld.log"],
            )
        ]
        return "\n".join(done.stdout + done.stderr for done in said)
