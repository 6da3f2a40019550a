"""How a training's processes are started."""

from __future__ import annotations

import socket
import subprocess
import sys

import pytest

from rca.cli import launch
from rca.config import Compute, ConfigError

ARGUMENTS = ["train-cam", "--out", "results/train_cam"]


def test_launch__one_process_stays_itself(monkeypatch):
    monkeypatch.setattr("os.execvp", lambda *command: pytest.fail(str(command)))

    launch.launch(Compute())


def test_launch__becomes_torchrun_once_only(monkeypatch):
    became = []
    monkeypatch.setattr("os.execvp", lambda program, command: became.append(command))
    monkeypatch.setattr("signal.signal", lambda *_: None)
    monkeypatch.setattr("sys.argv", ["rca", *ARGUMENTS])

    launch.launch(Compute(gpus=2))
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")
    launch.launch(Compute(gpus=2))

    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", "--standalone"]
    assert became == [[*torchrun, "-m", "rca", *ARGUMENTS]]


def test_torchrun__on_several_nodes_is_started_by_srun_on_each(monkeypatch):
    monkeypatch.setattr("shutil.which", lambda program: f"/usr/bin/{program}")
    command = launch.torchrun(Compute(gpus=4, nodes=2, threads=3), ARGUMENTS, job="120007")

    srun, inner = command[: command.index(sys.executable)], command[command.index("-m") :]
    assert srun == ["srun", "--nodes=2", "--ntasks=2", "--ntasks-per-node=1", "--cpus-per-task=12"]
    assert {"--nproc-per-node=4", "--nnodes=2", "--rdzv-id=120007"} <= set(inner)
    assert f"--rdzv-endpoint={socket.gethostname()}:20007" in inner
    assert inner[-len(ARGUMENTS) - 2 :] == ["-m", "rca", *ARGUMENTS]


def test_torchrun__several_nodes_outside_slurm_are_an_error():
    with pytest.raises(ConfigError, match=r"compute\.nodes: 2.*--profile slurm"):
        launch.torchrun(Compute(nodes=2), ARGUMENTS, job=None)


def test_module__is_the_command_line():
    text = subprocess.run([sys.executable, "-m", "rca", "--help"], capture_output=True, text=True)

    assert "train-cam" in text.stdout
