"""What is said of failed stages when Snakemake has ended."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

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
