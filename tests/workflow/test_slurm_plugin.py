"""What the mended plugin makes of Slurm's answers, and what it finds in the queue."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from rca.config import ConfigError

ROOT = Path(__file__).parents[2]


@pytest.fixture
def told() -> list[str]:
    """What the user is told while states are asked for."""
    return []


@pytest.fixture
def states(slurm_plugin, monkeypatch, told):
    """What the plugin hears, given what Slurm says; None: it does not answer."""
    logger = SimpleNamespace(warning=told.append)

    def states(said: dict[str, str] | None) -> dict[str, str]:
        async def ask(*_):
            return (said, 0.1) if said is not None else (None, None)

        monkeypatch.setattr(slurm_plugin, "_ask", ask)
        return asyncio.run(slurm_plugin._job_states("squeue", logger))[0]

    return states


def test_states__are_what_slurm_says_in_the_plugins_words(states):
    assert states({"1": "RUNNING", "2": "CANCELLED by 0"}) == {"1": "RUNNING", "2": "CANCELLED"}


def test_states__without_an_answer_are_as_before(states):
    assert states(None) == {}
    states({"1": "RUNNING"})

    assert states(None) == {"1": "RUNNING"}
    assert states({"1": "COMPLETED"}) == {"1": "COMPLETED"}


def test_states__that_slurm_is_away_and_back_is_said_once(states, told):
    for said in ({"1": "RUNNING"}, None, None, {"1": "RUNNING"}, {"1": "COMPLETED"}):
        states(said)

    assert [line.partition(";")[0] for line in told] == [
        "Slurm does not answer",
        "Slurm answers again.",
    ]


@pytest.mark.parametrize(("silent", "status"), [(True, -signal.SIGTERM), (False, 0)])
def test_sigterm__ends_snakemake_at_once_where_slurm_is_away(silent, status):
    ended = subprocess.run(
        [
            sys.executable,
            "-c",
            "import signal\nfrom workflow.engine import slurm\n"
            f"slurm._silent = {silent}\n"
            "slurm._end_after_jobs = lambda *_: print('after its jobs')\n"
            "signal.signal(signal.SIGTERM, lambda *a: slurm._end_without_slurm(None, *a))\n"
            "signal.raise_signal(signal.SIGTERM)\n",
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
    )

    assert (ended.returncode, ended.stderr) == (status, "")
    assert ended.stdout == ("" if silent else "after its jobs\n")


def test_states__a_job_that_slurm_has_forgotten_has_failed(states):
    states({"1": "RUNNING", "2": "COMPLETED"})

    assert states({}) == {"1": "FAILED", "2": "COMPLETED"}


def test_min_job_age__without_an_answer_is_as_before(slurm_plugin, monkeypatch):
    said = iter([None, 300, None])
    monkeypatch.setattr(slurm_plugin, "_ask_min_job_age", lambda: next(said))

    assert [slurm_plugin._last_min_job_age() for _ in range(3)] == [None, 300, 300]


@pytest.mark.parametrize(("planned", "kept"), [(20, 20), (180, 30)])
def test_check__finds_what_the_plugin_does_and_asks_again_soon(
    slurm_plugin, monkeypatch, planned, kept
):
    async def check(executor, jobs):
        executor.next_seconds_between_status_checks = planned
        for job in jobs[1:]:
            yield job

    async def checked():
        return [job async for job in slurm_plugin._check_steadily(executor, ["done", "runs"])]

    monkeypatch.setattr(slurm_plugin, "_check", check)
    settings = SimpleNamespace(init_seconds_before_status_checks=10)
    executor = SimpleNamespace(workflow=SimpleNamespace(executor_settings=settings))

    assert asyncio.run(checked()) == ["runs"]
    assert executor.next_seconds_between_status_checks == kept


@pytest.fixture
def submission(slurm_plugin, monkeypatch):
    """Submits a job; returns what Snakemake heard, and the nodes shut out.

    Takes whether the controller answers, each time it is asked, the nodes that failed so far, and
    those that the user shuts out.
    """

    def submission(answers: list[bool], failed: set[str], named: str | None):
        heard = []
        executor = SimpleNamespace(
            _failed_nodes=failed,
            workflow=SimpleNamespace(executor_settings=SimpleNamespace(exclude_failed_nodes=named)),
            logger=SimpleNamespace(warning=heard.append),
        )
        answers = iter(answers)
        monkeypatch.setattr(slurm_plugin, "_controller_answers", lambda: next(answers))
        monkeypatch.setattr(slurm_plugin.time, "sleep", lambda _: None)
        monkeypatch.setattr(
            slurm_plugin, "_submit", lambda executor, job: heard.append(f"submitted {job.name}")
        )
        slurm_plugin._submit_when_slurm_answers(executor, SimpleNamespace(name="train"))
        return heard, executor._failed_nodes

    return submission


def test_submission__is_at_once_where_slurm_answers(submission):
    assert submission([True], set(), None) == (["submitted train"], set())


def test_submission__waits_for_slurm_and_says_so_once(submission):
    heard, _ = submission([False, False, False, True], set(), None)

    assert heard == [
        "Slurm does not answer; train is submitted as soon as it does.",
        "submitted train",
    ]


def test_submission__shuts_out_the_users_nodes_and_no_other(submission):
    assert submission([True], {"n1", "n2"}, None)[1] == set()
    assert submission([True], {"n1", "n2", "n3"}, "n3, n1")[1] == {"n1", "n3"}


def test_leftovers__are_snakemakes_jobs_of_this_folder(slurm_plugin, tmp_path, monkeypatch):
    queue = f"""\
        1 rule_train {tmp_path}
        2 (null) {tmp_path}
        3 rule_train {tmp_path}/other
        4 rule_infer_shard_wildcards_1 {tmp_path}
    """
    client = tmp_path / "squeue"
    client.write_text(f"#!/bin/sh\nsed 's/^ *//; /^$/d' <<END\n{queue}\nEND\n")
    client.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")

    assert slurm_plugin.leftovers(tmp_path) == ["1", "4"]


def test_patches__are_of_one_version(slurm_plugin, monkeypatch):
    slurm_plugin.require_patched_version()

    monkeypatch.setattr(slurm_plugin, "version", lambda _: "2.9.0")
    with pytest.raises(ConfigError, match=r"is 2\.9\.0, .* patches 2\.8\.0: install that one"):
        slurm_plugin.require_patched_version()


def test_leftovers__without_slurm_there_are_none(slurm_plugin, monkeypatch):
    monkeypatch.setenv("PATH", "")

    assert slurm_plugin.leftovers(Path.cwd()) == []


@pytest.mark.parametrize(
    ("arguments", "refused"),
    [
        (["--profile", "slurm", "--cores", "1"], True),
        (["--profile", "slurm", "--cores", "1", "-n"], False),
        (["--cores", "1"], False),
    ],
)
def test_require_slurm__names_missing_commands_at_once(
    slurm_plugin, tmp_path, monkeypatch, arguments, refused
):
    monkeypatch.chdir(Path(__file__).parents[2])
    monkeypatch.setattr("sys.argv", ["snakemake", *arguments])
    for command in ("sbatch", "squeue", "scancel"):
        (tmp_path / command).touch(mode=0o755)
    monkeypatch.setenv("PATH", str(tmp_path))

    if refused:
        with pytest.raises(ConfigError, match="scontrol not found: load Slurm"):
            slurm_plugin.require_slurm()
    else:
        slurm_plugin.require_slurm()


@pytest.mark.parametrize("answers", [True, False])
def test_require_slurm__asks_whether_a_controller_answers(
    slurm_plugin, tmp_path, monkeypatch, answers
):
    monkeypatch.chdir(Path(__file__).parents[2])
    monkeypatch.setattr("sys.argv", ["snakemake", "--profile", "slurm", "--cores", "1"])
    for command in slurm_plugin.COMMANDS:
        (tmp_path / command).write_text(f"#!/bin/sh\nexit {0 if answers else 1}\n")
        (tmp_path / command).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin")

    if answers:
        slurm_plugin.require_slurm()
    else:
        with pytest.raises(ConfigError, match="scontrol ping: no controller of Slurm answers"):
            slurm_plugin.require_slurm()
