"""What is said of failed stages, and of an interruption, when Snakemake has ended."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from workflow.engine.events import FOLDER, endings
from workflow.engine.last_words import last_words

ROOT = Path(__file__).parents[2]


@pytest.fixture
def stage(tmp_path, monkeypatch) -> dict:
    monkeypatch.chdir(tmp_path)
    Path("logs").mkdir()
    return {"name": "crf", "log": "logs/crf.log"}


@pytest.mark.parametrize(
    ("log", "words"),
    [
        ("12:00:00 crf: 3 of 8\nrca: a.png: cannot be decoded\n  fetch it again\n",
         "rca: a.png: cannot be decoded\n  fetch it again"),
        ("Traceback\n  File\nIndexError: 3\n", "IndexError: 3"),
        ("12:00:00 crf: 3 of 8\nDVC: failed to run: exited with -9\n",
         "DVC: failed to run: exited with -9"),
    ],
)  # fmt: skip
def test_last_words__are_the_message_at_the_logs_end(stage, log, words):
    Path("logs/crf.log").write_text(log)
    assert last_words(stage, 0) == words


def test_last_words__of_a_share_are_in_its_own_log(stage):
    Path("logs/crf.2.log").write_text("rca: no space\n")
    assert last_words(stage, 0) == "rca: no space"


def test_last_words__there_are_none_of_a_stage_that_is_done_or_did_not_run(stage):
    Path("logs/crf.log").write_text("rca: an old fault\n")
    os.utime("logs/crf.log", (1, 1))
    assert last_words(stage, time.time() - 60) == ""
    mark = Path(".snakemake/stages/crf")
    mark.parent.mkdir(parents=True)
    mark.touch()
    assert last_words(stage, 0) == ""


def test_say_at_exit__is_the_last_that_is_said(stage):
    code = (
        f"import sys; sys.path.insert(0, {str(ROOT)!r})\n"
        "from workflow.engine import last_words\n"
        "import pathlib\n"
        f"last_words.say_at_exit([{stage!r}])\n"
        "pathlib.Path('logs/crf.log').write_text('rca: no space\\n')\n"
        "sys.exit('WorkflowError: fifteen lines')\n"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert run.stderr.endswith("fifteen lines\n\ncrf failed (logs/crf.log):\nrca: no space\n")


def ended(stage: str, *events: dict) -> None:
    """What the job of a stage, or of its share, told of itself."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    (FOLDER / f"{stage}.jsonl").write_text("".join(f"{json.dumps(event)}\n" for event in events))


@pytest.fixture
def run(stage):
    """Run a Snakemake that another process interrupts; return what it says at the end."""
    others = [{"name": name, "log": f"logs/{name}.log"} for name in ("index", "track")]
    (Path(".snakemake/stages")).mkdir(parents=True)
    Path(".snakemake/stages/index").touch()

    def run(*lines: str, arguments: str = "--cores all") -> str:
        code = [
            f"import os, pathlib, signal, sys; sys.path.insert(0, {str(ROOT)!r})",
            f"sys.argv = [os.path.abspath('.venv/bin/snakemake'), *{arguments.split()!r}]",
            "from workflow.engine import last_words",
            f"last_words.say_at_exit({[stage, *others]!r})",
            "pathlib.Path('logs/crf.log').write_text('00:00:01 crf: 3 of 8\\n')",
            *lines,
        ]
        done = subprocess.run(
            [sys.executable, "-c", "\n".join(code)],
            capture_output=True,
            text=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )
        return done.stderr

    return run


# As Snakemake does: it ends in good order.
INTERRUPT = """
try:
    os.kill(os.getpid(), signal.SIGINT)
    signal.pause()
except KeyboardInterrupt:
    pass
"""


@pytest.mark.parametrize("events", [[], [{"begun": True}], [{"begun": True}, {"ended": 130}]])
def test_say_at_exit__an_interrupted_run_has_not_failed(run, events):
    ended("crf", *events)
    Path("state/crf/0123").mkdir(parents=True)
    assert run(INTERRUPT, arguments="--cores 2 a b") == (
        "\nInterrupted in crf.\n"
        "Kept:   1 of 3 stages and unfinished work in state/crf/\n"
        "Resume: .venv/bin/snakemake --cores 2 a b\n"
    )


def test_say_at_exit__an_interruption_hides_no_failure(run):
    ended("crf", {"begun": True}, {"ended": 1})
    said = run(INTERRUPT)
    assert said.startswith(
        "\ncrf failed (logs/crf.log):\n00:00:01 crf: 3 of 8\n\nInterrupted in crf."
    )


def test_say_at_exit__of_an_interruption_after_the_last_stage_there_is_nothing_to_say(run):
    done = "".join(
        f"\npathlib.Path('.snakemake/stages/{name}').touch()" for name in ("crf", "track")
    )
    assert run(done, INTERRUPT) == ""


def test_say_at_exit__a_stage_has_not_failed_that_snakemake_did_not_come_to(run):
    ended("crf~1of2", {"begun": True}, {"ended": 0})
    ended("crf~2of2", {"begun": True}, {"ended": 0})
    assert run("sys.exit(1)") == ""
    ended("crf~2of2", {"begun": True})  # was killed
    assert "crf failed" in run("sys.exit(1)")


def test_endings__are_of_the_last_attempt(stage):
    ended("crf", {"begun": True}, {"ended": 1}, {"begun": True}, {"bar": "images"})
    ended("crf~2of3", {"begun": True}, {"ended": 130})
    assert endings("crf") == {"": None, "2/3": 130}
    assert endings("index") == {}
