"""The cluster of `tools/slurm_cluster.sh`, for tests."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
PATIENCE = 3600  # seconds, for a busy machine


class Cluster:
    """A cluster in a folder of its own."""

    def __init__(self, folder: Path) -> None:
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
        """What a client of Slurm says; asked again while the controller is away."""
        end = time.monotonic() + PATIENCE
        while True:
            done = subprocess.run(command, env=self.environment, capture_output=True, text=True)
            if done.returncode == 0:
                return done.stdout
            assert time.monotonic() < end, done.stderr
            time.sleep(1)
