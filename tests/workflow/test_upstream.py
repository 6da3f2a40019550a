"""What workflow/engine/ patches is still so upstream; a test that fails says which patch can go."""

from __future__ import annotations

import asyncio
import inspect
import json
import logging
import subprocess
from pathlib import Path

import psutil
import pytest
import snakemake_executor_plugin_slurm as plugin
from dvc.exceptions import DvcException
from dvc.output import Output
from dvc.repo import Repo
from snakemake.scheduling.job_scheduler import JobScheduler

from workflow.engine.dvc import each_path_once

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:dvc")

PIPELINE = "stages: {write: {cmd: echo written >out, outs: [out]}}"
FAILED = ("CANCELLED", "FAILED", "NODE_FAIL", "TIMEOUT")


@pytest.fixture
def pipeline(dvc_folder) -> Path:
    Path("dvc.yaml").write_text(PIPELINE)
    return dvc_folder


def repro() -> None:
    with Repo(".") as repo:
        repo.reproduce("write", single_item=True)


def test_dvc__is_stopped_by_what_a_zombie_holds(pipeline):
    with subprocess.Popen(["true"]) as dead:
        while psutil.Process(dead.pid).status() != psutil.STATUS_ZOMBIE:
            pass
        holder = {"pid": dead.pid, "cmd": "write"}
        table = {"write": {str(pipeline / "out"): holder}, "read": {}}
        (pipeline / ".dvc/tmp/rwlock").write_text(json.dumps(table))
        with pytest.raises(DvcException):
            repro()


@pytest.mark.parametrize(("lock", "half"), [("dvc.lock", "schema: '2."), (".dvc/tmp/rwlock", "")])
def test_dvc__is_stopped_by_half_a_lock_file(pipeline, lock, half):
    (pipeline / lock).write_text(half)

    with pytest.raises(DvcException):
        repro()


def test_dvc__looks_at_a_path_for_each_stage_that_uses_it(dvc_folder, monkeypatch):
    reader = "read: {cmd: cat out, deps: [out]}"
    Path("dvc.yaml").write_text(PIPELINE.replace("}}", "}, ") + f"{reader}}}")
    looks = []

    def look(output: Output, *_: object) -> object:
        looks.append(output.def_path)
        return undisturbed(output)

    undisturbed = Output._get_hash_meta
    monkeypatch.setattr(Output, "_get_hash_meta", look)
    with Repo(".") as repo:
        repo.reproduce()
        looks.clear()
        assert repo.status() == {}
        assert looks == ["out", "out"]

        looks.clear()
        with each_path_once():
            assert repo.status() == {}
        assert looks == ["out"]
        Path("out").write_text("changed")
        with each_path_once():
            assert repo.status().keys() == {"write", "read"}
        assert repo.status().keys() == {"write", "read"}


def test_plugin__passes_on_a_state_that_it_does_not_know():
    ask = plugin.query_job_status("echo '1|CANCELLED by 0'", logging.getLogger())

    assert asyncio.run(ask)[0] == {"1": "CANCELLED by 0"}
    checks = inspect.getsource(plugin.Executor.check_active_jobs)
    assert "elif status in fail_stati:" in checks
    assert all(f'"{state}"' in checks for state in FAILED)


def test_plugin__takes_no_answer_for_no_state():
    ask = plugin.query_job_status("false", logging.getLogger())

    assert asyncio.run(ask) == (None, None)


def test_plugin__takes_no_answer_for_an_unknown_age(monkeypatch):
    monkeypatch.setenv("PATH", "")

    assert plugin.get_min_job_age() is None


def test_plugin__asks_ever_later():
    checks = inspect.getsource(plugin.Executor.check_active_jobs)

    assert "max_sleep_time = 180" in checks
    assert "self.next_seconds_between_status_checks + 10" in checks


def test_plugin__shuts_a_node_out_for_ever_and_does_not_wait_for_a_controller():
    source = inspect.getsource(plugin)

    assert "self._failed_nodes.add(" in source
    assert not [way for way in ("discard", "remove", "clear") if f"_failed_nodes.{way}" in source]
    assert "scontrol ping" not in source


def test_snakemake__on_sigterm_waits_for_its_jobs():
    source = inspect.getsource(JobScheduler)

    assert "signal.signal(signal.SIGTERM, self.exit_gracefully)" in source
    assert (
        'if executor_error or not running:\n                        logger.info("Shutting' in source
    )
