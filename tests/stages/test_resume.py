"""Trainings and inference as users run them, killed and run again: the bytes are the same."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import yaml

from rca.tracking.machine import noted

pytestmark = pytest.mark.pipeline

ROOT = Path(__file__).parents[2]
PATIENCE = 600  # seconds; a training takes some 10
RCA = [sys.executable, "-c", "from rca.cli import main; main()"]
TRAININGS = {
    "train_cam": "train-cam --index index",
    "train_seg": "train-seg --supervision truth --index index --labels none",
}


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    """A folder with the debug preset, eight images each indexed, and a checkpoint every step."""
    root = tmp_path_factory.mktemp("resume")
    (root / "data").mkdir()
    (root / "data/embedded").symlink_to(ROOT / "data/embedded")
    params = yaml.safe_load((ROOT / "configs/debug.yaml").read_text())
    params["compute"]["checkpoint_steps"] = 1
    for name in TRAININGS:
        params[name] |= {"epochs": 3, "batch_size": 3}
        params[name]["backbone"]["blocks"] = 4
    params["train_cam"]["attention"] |= {"accumulate": True, "drop": True}
    supervisions = {"pseudo": "crf", "truth": "index"}
    params["train_seg"] |= {"head": "large_fov", "supervisions": supervisions}  # with dropout
    params["relabel"]["teachers"] = {}
    params["infer_cam"]["shard_size"] = 1
    params["infer_seg"] |= {"size": 200, "crf": True}  # slow enough to be killed between two
    (root / "params.yaml").write_text(yaml.safe_dump(params))
    run(root, "download --out data/sample")
    run(root, "index --data data/sample --out index")
    return root


def start(root: Path, command: str) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [*RCA, *command.split()], cwd=root, env=environment, stderr=subprocess.PIPE, text=True
    )


def run(root: Path, command: str) -> str:
    """Its log."""
    process = start(root, command)
    _, log = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, log
    return log


def killed(root: Path, command: str, number: int, sign: str) -> tuple[int, str]:
    """Exit status and log of a command that gets a signal when a file like `sign` appears."""
    process = start(root, command)
    end = time.monotonic() + PATIENCE
    while not list(root.glob(sign)):
        assert process.poll() is None and time.monotonic() < end, process.communicate()
        time.sleep(0.01)
    process.send_signal(number)
    _, log = process.communicate(timeout=PATIENCE)
    return process.returncode, log


def contents(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.mark.parametrize("stage", TRAININGS)
def test_training__killed_again_and_again_writes_the_same_bytes(root, stage):
    undisturbed = f"{TRAININGS[stage]} --out whole/{stage} --state other"
    run(root, undisturbed)
    command = f"{TRAININGS[stage]} --out {stage}"
    checkpoints = f"state/{stage}/*/step-*{{:d}}.safetensors"

    status, _ = killed(root, command, signal.SIGKILL, checkpoints.format(2))
    assert status == -signal.SIGKILL
    status, log = killed(root, command, signal.SIGTERM, checkpoints.format(5))
    assert status == 128 + signal.SIGTERM
    assert "resuming after step " in log and "SIGTERM: stopped after step " in log
    assert not (root / stage).exists()
    newest = max(root.glob(f"state/{stage}/*/step-*.safetensors"))
    newest.write_bytes(newest.read_bytes()[:-1])
    log = run(root, command)

    assert f"{newest.name}: damaged" in log and "resuming after step " in log
    assert contents(root / stage) == contents(root / "whole" / stage)
    assert not list(root.glob(f"state/{stage}/*"))


@pytest.mark.parametrize(
    ("stage", "arguments", "piece", "message"),
    [
        (
            "infer_cam",
            "--weights whole/train_cam/weights.safetensors"
            " --attention whole/train_cam/attention.safetensors",
            "train/*-00003.*",
            "train/cams-00003.safetensors was already done",
        ),
        (
            "infer_seg",
            "--weights whole/train_seg/weights.safetensors",
            "*.png",
            "of 8 images were already done",
        ),
    ],
    ids=["infer_cam", "infer_seg"],
)
def test_inference__killed_writes_the_same_bytes(root, stage, arguments, piece, message):
    assert (root / "whole/train_seg").is_dir(), "the trainings are tested first"
    command = f"{stage.replace('_', '-')} --index index {arguments}"
    run(root, f"{command} --out whole/{stage} --state other")

    status, _ = killed(root, f"{command} --out {stage}", signal.SIGKILL, f"state/{stage}/*/{piece}")
    assert status == -signal.SIGKILL and not (root / stage).exists()
    log = run(root, f"{command} --out {stage}")

    assert message in log
    assert contents(root / stage) == contents(root / "whole" / stage)


def test_torchrun__by_hand_trains_with_a_process_each(root):
    arguments = "train-cam --index index --out by_hand"
    torchrun = [Path(sys.executable).parent / "torchrun", "--standalone", "--nproc-per-node=2"]
    done = subprocess.run(
        [*torchrun, "-m", "rca", *arguments.split()],
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )

    assert done.returncode == 0, done.stderr
    one, two = (
        np.loadtxt(root / folder / "history.csv", delimiter=",", skiprows=1)
        for folder in ("whole/train_cam", "by_hand")
    )
    np.testing.assert_allclose(two, one, rtol=1e-3)
    assert noted(root / "by_hand/weights.safetensors", root)["processor"]
