"""The display of a run by Snakemake: a bar for each job, a line for each stage, the scores.

Snakemake's own output goes to `.snakemake/log/`. With `--verbose`, `--printshellcmds`,
`--debug-dag`, `--quiet` or a dry run, it is shown in place of this display.
"""

from __future__ import annotations

import atexit
import logging
import os
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from snakemake.logging import DefaultFormatter, LogEvent

from rca.cli.summary import summary
from rca.runtime.bars import columns
from rca.runtime.events import RESULT
from workflow.engine.events import INTERRUPTED, Event, Followed
from workflow.engine.snakemake import MARKS, Stage

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

SHOWN = "RCA_SHOWN"  # in the environment of local jobs: their output need not go to the terminal
EVERY = 0.2  # seconds between two reads of the events
COLOURS = {"✓": "green", "!": "yellow", "✗": "red"}
# Snakemake's messages in every run and at every failure; the stage's own last lines follow these.
CHATTER = (
    "Assuming unrestricted shared filesystem usage",
    "Exiting because a job execution failed",
    "WorkflowError:\nAt least one job did not complete successfully",
)


def prepare(settings: Any, stages: Sequence[Stage], results: Path, on_cluster: bool) -> None:
    """Show this display in place of Snakemake's own output, unless that is asked for.

    Args:
        settings: Snakemake's output settings.
        stages: all stages.
        results: the folder of the experiment.
        on_cluster: whether jobs run on other machines.
    """
    asked = settings.verbose, settings.printshellcmds, settings.debug_dag, settings.quiet
    if settings.dryrun or any(asked):
        return
    for handler in logging.getLogger("snakemake.logging").handlers:
        if handler.name == "DefaultStreamHandler":
            handler.setFormatter(Formatter())
            handler.addFilter(Filter(Display(stages, results, on_cluster)))


class Formatter(DefaultFormatter):
    """A formatter that prints one line per job."""

    def format_job_info(self, msg: dict[str, Any]) -> str:
        """Describe a job by its rule's message, without the job's number and the time."""
        return msg["rule_msg"] or super().format_job_info(msg)


class Filter(logging.Filter):
    """A filter that passes only what users need, from the start of a run on."""

    def __init__(self, display: Display) -> None:
        super().__init__()
        self.display = display
        self.begun = False

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether Snakemake prints the record on the terminal."""
        event, text = getattr(record, "event", None), str(record.msg)
        if event == LogEvent.WORKFLOW_STARTED:
            self.begun = True
            self.display.begin()
        if text.startswith(CHATTER):
            return False
        if not self.begun:
            return True
        if event == LogEvent.JOB_INFO or "SLURM jobid" in text:
            return self.display.bars is None and getattr(record, "rule_name", "") != "all"
        if event == LogEvent.JOB_ERROR or text.startswith("RuleException:\nCalledProcessError"):
            return self.display.on_cluster
        return record.levelno >= logging.WARNING


class Display:
    """What a run shows on the terminal, or in the log, that Snakemake writes to."""

    def __init__(self, stages: Sequence[Stage], results: Path, on_cluster: bool) -> None:
        self.stages = stages
        self.results = results
        self.on_cluster = on_cluster
        self.bars: Progress | None = None
        self._tasks: dict[tuple[str, str], TaskID] = {}
        self._said: set[str] = set()  # stages that have reported what they made
        self._elsewhere = {stage["name"] for stage in stages if on_cluster and not stage["local"]}
        self._width = max(len(stage["name"]) for stage in stages) + 4  # room for the share's number
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._follow, daemon=True)

    def begin(self) -> None:
        """Print how much there is to run, and follow the jobs until this process ends."""
        due = sum(not (MARKS / stage["name"]).exists() for stage in self.stages)
        logs = Path(self.stages[0]["log"]).parent
        print(
            f"{self.results}: {due or 'none'} of {len(self.stages)} stages to run"
            + (f", logs in {logs}/" if due else ""),
            file=sys.stderr,
        )
        self._events = Followed()
        if sys.stderr.isatty() and due:
            from rich.progress import Progress

            os.environ[SHOWN] = "1"
            self.bars = Progress(*columns(), transient=True, refresh_per_second=4)
            self.bars.start()
        self._thread.start()
        atexit.register(self.end)

    def end(self) -> None:
        """Remove the bars; if every stage is done, print the run's summary."""
        atexit.unregister(self.end)
        self._end.set()
        self._thread.join()
        if self.bars is not None:
            self.bars.stop()
        scored = (self.results / "evaluate/metrics.json").is_file()
        if scored and all((MARKS / stage["name"]).exists() for stage in self.stages):
            print(f"\n{summary(self.results)}")

    def _follow(self) -> None:
        last = False
        while not last:
            last = self._end.wait(EVERY)
            for stage, share, event in self._events.news():
                self.show(stage, share, event)

    def show(self, stage: str, share: str, event: Event) -> None:
        """Show one event of a job."""
        job = stage, share
        if "said" in event:
            if event["level"] == RESULT and not share:
                self._said.add(stage)
            self._say(stage, share, event["said"], "✓" if event["level"] == RESULT else "!")
        elif event.get("ended") == 0 and stage not in self._said and not share:
            self._say(stage, share, "taken from DVC's cache", "✓")
        elif event.get("ended") == INTERRUPTED:
            self._say(stage, share, "interrupted", "!")
        elif event.get("ended"):
            self._say(stage, share, "failed", "✗")
        if self.bars is None:
            return
        if "begun" in event and job not in self._tasks:  # a restarted job keeps its bar
            self._tasks[job] = self.bars.add_task(self._title(stage, share), total=None, count="")
        elif "bar" in event and job in self._tasks:
            self.bars.update(
                self._tasks[job],
                description=self._title(stage, share, event["bar"]),
                total=event["total"],
                completed=event["done"],
                count=event["count"],
            )
        elif "ended" in event and job in self._tasks:
            self.bars.remove_task(self._tasks.pop(job))

    def _title(self, stage: str, share: str, what: str = "") -> str:
        return f"  {f'{stage} {share}':<{self._width}}  {what}"

    def _say(self, stage: str, share: str, text: str, sign: str) -> None:
        if self.bars is not None:
            if not share or sign != "✓":  # its stage reports a share that is done
                self._print_above(sign, f" {f'{stage} {share}':<{self._width}}  {text}")
        elif stage in self._elsewhere:  # a job on this machine logs here itself
            print(f"{stage}{f' {share}' if share else ''}: {text}", file=sys.stderr)

    def _print_above(self, sign: str, text: str) -> None:
        from rich.text import Text

        assert self.bars is not None
        self.bars.console.print(Text.assemble((sign, COLOURS[sign]), text), soft_wrap=True)
