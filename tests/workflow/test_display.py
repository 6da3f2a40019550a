"""What Snakemake shows of a run: what the jobs tell, and little of its own."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from snakemake.logging import LogEvent

from rca.runtime.events import RESULT, VARIABLE, Listener, tell
from tools import terminal_picture
from workflow.engine.display import Display, Filter, prepare
from workflow.engine.events import FOLDER, Followed
from workflow.engine.snakemake import MARKS

ROOT = Path(__file__).parents[2]
STAGES = [
    {"name": name, "log": f"logs/e/{name}.log", "local": False} for name in ("index", "infer_cam")
]


@pytest.fixture
def here(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    MARKS.mkdir(parents=True)
    return tmp_path


def display(on_cluster: bool = False) -> Display:
    return Display(STAGES, Path("results/e"), on_cluster)


def record(text: str, level: int = logging.INFO, **details) -> logging.LogRecord:
    made = logging.LogRecord("snakemake.logging", level, "", 0, text, None, None)
    made.__dict__.update(details)
    return made


def job(*words: str) -> None:
    """A job that tells of two images and what it made."""
    code = (
        "import logging, sys\n"
        "from rca.runtime.events import RESULT, Listener\n"
        "from rca.runtime.progress import progress\n"
        "from workflow.engine.events import run_telling\n"
        "log = logging.getLogger('rca'); log.setLevel(20); log.addHandler(Listener())\n"
        "def main():\n"
        "    list(progress('ab', 2, 'images'))\n"
        "    log.info('a detail'); log.log(RESULT, '2 images (0 s)')\n"
        "    return 3\n"
        f"sys.argv = ['run', *{words!r}]\n"
        "run_telling(main)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], env={"PYTHONPATH": str(ROOT)})
    assert done.returncode == 3


def test_job__tells_of_begin_progress_result_and_end(here):
    followed = Followed()
    job("infer_seg@pseudo", "2/3")
    news = list(followed.news())
    assert {(stage, share) for stage, share, _ in news} == {("infer_seg@pseudo", "2/3")}
    assert [event for _, _, event in news] == [
        {"begun": True},
        {"bar": "images", "done": 0, "total": 2, "count": "0/2"},
        {"bar": "images", "done": 2, "total": 2, "count": "2/2"},
        {"level": RESULT, "said": "2 images (0 s)"},
        {"ended": 3},
    ]
    assert list(followed.news()) == []


def test_followed__takes_whole_lines_and_none_of_an_earlier_run(here, monkeypatch):
    FOLDER.mkdir()
    (FOLDER / "crf.jsonl").write_text('{"begun": true}\n')
    followed = Followed()
    (FOLDER / "crf.jsonl").open("a").write('{"ended": 0}\n')
    assert list(followed.news()) == [("crf", "", {"ended": 0})]
    file = FOLDER / "index.jsonl"
    file.write_text('{"begun": true}\n{"end')
    assert list(followed.news()) == [("index", "", {"begun": True})]
    file.write_text('{"begun": true}\n{"end{"ended": 0}\n{"ended": 0}\n')
    assert list(followed.news()) == [("index", "", {"ended": 0})]


def test_listener__tells_of_results_and_warnings_alone(here, monkeypatch):
    monkeypatch.setenv(VARIABLE, "events")
    log = logging.getLogger("of_this_test_alone")
    listener = Listener()
    log.addHandler(listener)
    log.setLevel(logging.INFO)
    for level in (logging.INFO, RESULT, logging.WARNING):
        log.log(level, "of level %d", level)
    log.removeHandler(listener)
    told = [json.loads(line) for line in Path("events").read_text().splitlines()]
    assert [event["level"] for event in told] == [RESULT, logging.WARNING]


def test_tell__without_an_engine_writes_nothing(here, monkeypatch):
    monkeypatch.delenv(VARIABLE, raising=False)
    tell(begun=True)
    assert list(here.iterdir()) == [here / ".snakemake"]


JOB_INFO = {"event": LogEvent.JOB_INFO, "rule_name": "index"}
WORDS = [
    (record("Building DAG of jobs..."), False, False),
    (record("index: List the images", **JOB_INFO), True, True),
    (record("every stage is done", **{**JOB_INFO, "rule_name": "all"}), False, False),
    (record("Error in rule index", logging.ERROR, event=LogEvent.JOB_ERROR), False, True),
    (record("RuleException:\nCalledProcessError in file", logging.ERROR), False, True),
    (record("WorkflowError:\nNo space left on device", logging.ERROR), True, True),
    (record("WorkflowError:\nAt least one job did not complete successfully.", 40), False, False),
    (record("Slurm does not answer", logging.WARNING), True, True),
    (record("Job 3 has been submitted with SLURM jobid 5"), True, True),
    (record("Exiting because a job execution failed. Look", logging.ERROR), False, False),
]


@pytest.mark.parametrize(("said", "here_shown", "on_cluster_shown"), WORDS)
def test_filter__lets_pass_what_users_need(here, said, here_shown, on_cluster_shown):
    for on_cluster, shown in ((False, here_shown), (True, on_cluster_shown)):
        words = Filter(display(on_cluster))
        words.begun = True
        assert words.filter(said) == shown


def test_filter__says_of_jobs_what_no_bar_says(here):
    words = Filter(display(on_cluster=True))
    words.begun = True
    words.display.bars = object()
    shown = [said.getMessage() for said, *_ in WORDS if words.filter(said)]
    assert shown == [
        said.getMessage()
        for said, *_ in WORDS
        if said.levelno >= logging.WARNING
        and "complete" not in said.msg
        and "Exiting" not in said.msg
    ]


def test_filter__lets_all_pass_where_nothing_runs(here):
    words = Filter(display())
    assert words.filter(record("Unlocked working directory."))
    assert not words.filter(record("Assuming unrestricted shared filesystem usage."))


@pytest.mark.parametrize("asked", ["verbose", "printshellcmds", "quiet", "dryrun"])
def test_prepare__leaves_it_to_snakemake_where_that_is_asked_for(here, asked, monkeypatch):
    handler = logging.StreamHandler()
    handler.name = "DefaultStreamHandler"
    monkeypatch.setattr(logging.getLogger("snakemake.logging"), "handlers", [handler])
    names = ("verbose", "printshellcmds", "debug_dag", "quiet", "dryrun")
    plain = SimpleNamespace(**dict.fromkeys(names, False))
    prepare(SimpleNamespace(**{**vars(plain), asked: True}), STAGES, Path("r"), False)
    assert not handler.filters
    prepare(plain, STAGES, Path("r"), False)
    assert handler.filters


def test_display__says_what_jobs_elsewhere_tell_and_not_what_jobs_here_say(here, capsys):
    events = [
        ("index", "", {"begun": True}),
        ("index", "", {"bar": "images", "done": 1, "total": 2, "count": "1/2"}),
        ("index", "", {"level": RESULT, "said": "2 images (0 s)"}),
        ("index", "", {"ended": 0}),
        ("infer_cam", "1/2", {"ended": 0}),
        ("infer_cam", "2/2", {"ended": 1}),
        ("infer_cam", "", {"ended": 0}),
    ]
    for on_cluster in (True, False):
        shown = display(on_cluster)
        for event in events:
            shown.show(*event)
    assert capsys.readouterr().err.splitlines() == [
        "index: 2 images (0 s)",
        "infer_cam 2/2: failed",
        "infer_cam: taken from DVC's cache",
    ]


@pytest.mark.parametrize("whole", [True, False])
def test_display__ends_with_the_scores_if_every_stage_is_done(here, capsys, whole):
    Path("results/e/evaluate").mkdir(parents=True)
    Path("results/e/evaluate/metrics.json").write_text('{"miou": {}, "products": {}}')
    shown = display()
    shown.begin()
    for stage in STAGES[: 2 if whole else 1]:
        (MARKS / stage["name"]).touch()
    shown.end()
    out, err = capsys.readouterr()
    assert err == "results/e: 2 of 2 stages to run, logs in logs/e/\n"
    assert ("Nothing is scored" in out) == whole


ON_TERMINAL = """
import time
from pathlib import Path
from rca.runtime.events import RESULT
from workflow.engine.display import Display
from workflow.engine.events import FOLDER

FOLDER.mkdir(parents=True)
stages = [{"name": "index", "log": "logs/e/index.log", "local": False}]
display = Display(stages, Path("results/e"), on_cluster=False)
display.begin()
(FOLDER / "index~1of2.jsonl").write_text('{"begun": true}\\n{"ended": 0}\\n')
(FOLDER / "index.jsonl").write_text(
    '{"begun": true}\\n{"bar": "images", "done": 1, "total": 2, "count": "1/2"}\\n'
)
time.sleep(1)
(FOLDER / "index.jsonl").open("a").write(
    '{"level": 30, "said": "a [bold]warning[/bold]"}\\n{"level": 25, "said": "2 images"}\\n'
)
display.end()
"""


def test_display__on_a_terminal_has_bars_that_go_and_lines_that_stay(here):
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TERM": "xterm"}
    command = [sys.executable, "-c", ON_TERMINAL]
    said, status = terminal_picture.on_terminal(command, here, environment)
    assert status == 0, said
    assert "━" in said and "1/2" in said
    lines = [line.split() for line in terminal_picture.left(said).splitlines()]
    assert ["!", "index", "a", "[bold]warning[/bold]"] in lines
    assert ["✓", "index", "2", "images"] in lines
    assert sum(line[:1] == ["✓"] for line in lines) == 1  # none of the share
    assert said.rindex("\x1b[?25h") > said.rindex("━")  # the cursor is there again
