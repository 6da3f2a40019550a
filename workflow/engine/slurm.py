"""Patches for Snakemake's Slurm plugin, where it hangs or gives up; the requests of a dry run.

The patches are for version `PATCHED` and refuse any other. Each function that replaces one of the
plugin's says what the plugin does, and names the upstream issue if one was found.
tests/workflow/test_upstream.py fails when a newer plugin no longer does so.
"""

from __future__ import annotations

import getpass
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Collection
from importlib.metadata import version
from pathlib import Path
from typing import Any

import snakemake_executor_plugin_slurm as plugin
from snakemake.cli import parse_args
from snakemake.executors import dryrun
from snakemake.scheduling.job_scheduler import JobScheduler
from snakemake_executor_plugin_slurm.submit_string import get_submit_command
from snakemake_executor_plugin_slurm.utils import set_gres_string
from snakemake_interface_executor_plugins.registry import ExecutorPluginRegistry

from rca.config import ConfigError

PLUGIN, PATCHED = "snakemake-executor-plugin-slurm", "2.8.0"
COMMANDS = ("scontrol", "sbatch", "squeue", "scancel")
_ask = plugin.query_job_status
_ask_min_job_age = plugin.get_min_job_age
_submit = plugin.Executor.run_job
_check = plugin.Executor.check_active_jobs
_end_after_jobs = JobScheduler.exit_gracefully
# From the last answer: every job's state, and for how many seconds Slurm remembers a finished job.
_states: dict[str, str] = {}
_min_job_age: int | None = None
_silent = False  # whether Slurm left the last query unanswered


async def _job_states(command: str, logger: Any) -> tuple[dict[str, str], float]:
    """Query the state of every job from Slurm, in the terms that the plugin knows.

    Plugin 2.8.0 hangs in three cases: sacct says `CANCELLED by 0`, which the plugin takes for a
    state of its own; no query of a round is answered, so that it loses track of its jobs; Slurm has
    forgotten a finished job before it was queried. A job that is gone counts as failed and is
    retried: if it had done its work, DVC knows. A Slurm that does not answer is
    https://github.com/snakemake/snakemake-executor-plugin-slurm/issues/207, open; for the other two
    no issue was found.
    """
    answer, seconds = await _ask(command, logger)
    _say_whether_it_answers(answer is not None, logger)
    if answer is None:
        return dict(_states), 0.0
    for job, state in _states.items():
        if job not in answer and state != "COMPLETED":
            _states[job] = "FAILED"
    _states.update({job: state.split()[0] for job, state in answer.items() if state})
    return dict(_states), seconds


def _say_whether_it_answers(answers: bool, logger: Any) -> None:
    """Log once that Slurm does not answer, unlike plugin 2.8.0, and once that it is back."""
    global _silent
    if not answers and not _silent:
        logger.warning(
            "Slurm does not answer; its jobs go on, and are asked for until it does. "
            f"`kill {os.getpid()}` ends Snakemake without them."
        )
    elif answers and _silent:
        logger.warning("Slurm answers again.")
    _silent = not answers


def _end_without_slurm(self: JobScheduler, *signal_and_frame: Any) -> None:
    """End on SIGTERM, after the running jobs; at once, if Slurm does not say when they end.

    The jobs continue without Snakemake, and the next Snakemake names them. No issue was found.
    """
    if _silent:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGTERM)
    _end_after_jobs(self, *signal_and_frame)


def _last_min_job_age() -> int | None:
    """Ask Slurm how long it remembers a finished job; without an answer, return the last one.

    Plugin 2.8.0 takes a missing answer for a Slurm that forgets at once. It then turns to sacct,
    which may not know yet of a running job. No issue was found.
    """
    global _min_job_age
    _min_job_age = _ask_min_job_age() or _min_job_age
    return _min_job_age


async def _check_steadily(self: plugin.Executor, jobs: list[Any]) -> AsyncIterator[Any]:
    """Check jobs at an interval that grows to three times the first one, and no further.

    Plugin 2.8.0 waits ten seconds longer each time, up to three minutes, and a stage would wait as
    long for one that is done. No issue was found.
    """
    async for job in _check(self, jobs):
        yield job
    longest = 3 * self.workflow.executor_settings.init_seconds_before_status_checks
    self.next_seconds_between_status_checks = min(self.next_seconds_between_status_checks, longest)


def _submit_when_slurm_answers(self: plugin.Executor, job: Any) -> None:
    """Submit a job to any node, as soon as a controller answers.

    Plugin 2.8.0 counts an unreachable controller as a failure of the job, whose retries are then
    all spent in a second
    (https://github.com/snakemake/snakemake-executor-plugin-slurm/issues/313, closed). And once a
    node has failed, it excludes the node for ever (pull request 411), whereas Slurm takes it back
    once it is repaired: a job that needs this very node would never start.
    """
    global _silent
    if not _controller_answers():
        self.logger.warning(f"Slurm does not answer; {job.name} is submitted as soon as it does.")
        _silent = True
        while not _controller_answers():
            time.sleep(5)
        _silent = False
    named_by_user = self.workflow.executor_settings.exclude_failed_nodes or ""
    self._failed_nodes.intersection_update(map(str.strip, named_by_user.split(",")))
    _submit(self, job)


def _controller_answers() -> bool:
    return subprocess.run(["scontrol", "ping"], capture_output=True, check=False).returncode == 0


def is_asked_for() -> bool:
    """Return whether jobs go to Slurm."""
    return parse_args(sys.argv[1:])[1].executor == "slurm"


def require_slurm() -> None:
    """Check that Slurm is there and answers, if `--profile slurm` is given without a dry run.

    Plugin 2.8.0 asks in a thread, which would hang. A controller that goes away later is waited
    for: by then there is work to lose.

    Raises:
        ConfigError: A command is missing, or no controller answers.
    """
    _, args = parse_args(sys.argv[1:])
    if args.executor != "slurm" or args.dryrun:
        return
    if missing := [command for command in COMMANDS if not shutil.which(command)]:
        raise ConfigError(
            f"{', '.join(missing)} not found: load Slurm (often `module load slurm`), run on a "
            "node that submits jobs, or leave --profile slurm out"
        )
    if not _controller_answers():
        raise ConfigError(
            "scontrol ping: no controller of Slurm answers; wait for it, run on a node that "
            "submits jobs, or leave --profile slurm out"
        )


def prepare(local: Collection[str]) -> None:
    """Patch the plugin for `--profile slurm`; in a dry run, print what sbatch would be given.

    Args:
        local: The rules that are not sent to Slurm. In a dry run, Snakemake takes every job for
            local.

    Raises:
        ConfigError: Jobs of an earlier Snakemake still run here, or the plugin is another version.
    """
    _, args = parse_args(sys.argv[1:])
    if args.executor != "slurm":
        return
    if args.dryrun:
        settings = ExecutorPluginRegistry().get_plugin("slurm").get_settings(args)
        run_job = dryrun.Executor.run_job
        dryrun.Executor.run_job = lambda self, job: _show(self, job, local, settings, run_job)
        return
    if jobs := leftovers(Path.cwd()):
        raise ConfigError(
            "jobs of an earlier Snakemake still run here; wait for them, or cancel them: "
            f"scancel {' '.join(jobs)}"
        )
    require_patched_version()
    plugin.query_job_status = _job_states
    plugin.get_min_job_age = _last_min_job_age
    plugin.Executor.check_active_jobs = _check_steadily
    plugin.Executor.run_job = _submit_when_slurm_answers
    JobScheduler.exit_gracefully = _end_without_slurm


def require_patched_version() -> None:
    """Refuse to patch a plugin that the patches were not written for.

    Raises:
        ConfigError: Another version is installed.
    """
    if (found := version(PLUGIN)) != PATCHED:
        raise ConfigError(
            f"{PLUGIN} is {found}, workflow/engine/slurm.py patches {PATCHED}: install that one"
        )


def leftovers(folder: Path) -> list[str]:
    """List the ids of the jobs that a killed Snakemake in `folder` left in Slurm's queue."""
    command = ["squeue", "--noheader", "--user", getpass.getuser(), "--format=%A %k %Z"]
    try:
        listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    except (FileNotFoundError, subprocess.CalledProcessError):
        return []  # without Slurm, the plugin's own error says more
    jobs = (line.split(" ", 2) for line in listed.splitlines())
    return [job for job, comment, at in jobs if comment.startswith("rule_") and Path(at) == folder]


def _show(
    self: dryrun.Executor, job: Any, local: Collection[str], settings: Any, run_job: Callable
) -> None:
    if job.rule.name not in local:
        print(f"{job.name}: {request(job, settings)}")
    run_job(self, job)


def request(job: Any, settings: Any) -> str:
    """Build the plugin's sbatch call, except for what is known only on submission.

    The exceptions are the job's name, log, folder and command, and partition and account if none is
    set, because Slurm must be asked for them.
    """
    account, partition = (job.resources.get(f"slurm_{key}") for key in ("account", "partition"))
    unknown = {"run_uuid": "NAME", "slurm_logfile": "LOG", "workdir": "", "comment_str": job.name}
    call = get_submit_command(
        job,
        {
            **unknown,
            "account": f"-A {account}" if account else "",
            "partition": f"-p {partition}" if partition else "",
        },
        settings=settings,
    )
    return " ".join((call + set_gres_string(job)).split())
