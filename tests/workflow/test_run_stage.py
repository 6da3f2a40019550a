"""A stage's job says what went wrong, and is not stopped by what a killed DVC left."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:dvc")

ROOT = Path(__file__).parents[2]
PIPELINE = """
stages:
  write: {cmd: echo written | tee out, outs: [out]}
  fail: {cmd: echo alas; exit 3}
  refuse: {cmd: "echo rca: no such file; exit 2"}
  stop: {cmd: exit 130}
"""


@pytest.fixture
def run(dvc_folder):
    """Run a stage; exit status, and what was said."""
    Path("dvc.yaml").write_text(PIPELINE)

    def run(stage: str) -> tuple[int, str]:
        done = subprocess.run(
            [sys.executable, "-m", "workflow.engine.run_stage", stage],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        return done.returncode, done.stdout

    return run


def hold_output(pid: int) -> None:
    """As DVC notes that a process writes the output."""
    table = {"write": {str(Path("out").absolute()): {"pid": pid, "cmd": "write"}}, "read": {}}
    Path(".dvc/tmp/rwlock").write_text(json.dumps(table))


def test_run_stage__says_what_its_command_says_and_no_more(run):
    assert run("write") == (0, "written\n")
    assert run("write") == (0, "")


def test_run_stage__says_why_it_failed(run):
    assert run("fail") == (
        1,
        "alas\nDVC: failed to reproduce 'fail': failed to run: echo alas; exit 3, exited with 3\n",
    )


def test_run_stage__leaves_the_last_word_to_a_stage_that_says_why(run):
    assert run("refuse") == (1, "rca: no such file\n")


def test_run_stage__passes_on_that_it_was_interrupted(run):
    assert run("stop") == (130, "")


def test_run_stage__takes_what_a_dead_process_holds_that_nobody_buried(run):
    with subprocess.Popen(["true"]) as dead:
        while psutil.Process(dead.pid).status() != psutil.STATUS_ZOMBIE:
            pass
        hold_output(dead.pid)
        status, said = run("write")

    assert status == 0, said
    assert "had been killed" in said and said.endswith("written\n")


def test_run_stage__does_not_take_what_another_holds(run):
    with subprocess.Popen(["sleep", "60"]) as other:
        hold_output(other.pid)
        status, said = run("write")
        other.kill()

    assert status == 1
    assert said.splitlines()[-1] == (
        f"DVC: out: process {other.pid} of an earlier run still uses it (write); wait for that to "
        f"end, or stop it by `kill {other.pid}`, then run again; if it is another program, remove "
        ".dvc/tmp/rwlock"
    )


@pytest.mark.slow
def test_run_stage__goes_on_after_lock_files_were_half_written(run):
    Path(".dvc/tmp/rwlock").write_text("")
    Path("dvc.lock").write_text("schema: '2.")
    status, said = run("write")

    assert status == 0, said
    assert "written\n" in said and Path("dvc.lock.broken").exists()
