"""Progress in a log, on a terminal, and as an engine follows it."""

from __future__ import annotations

import json
import logging
import os
import sys
from pathlib import Path

from rca.runtime.events import VARIABLE
from rca.runtime.progress import byte_progress, progress
from tools import terminal_picture

ROOT = Path(__file__).parents[2]
STAGE = """
import logging, time
from rca.cli import main
from rca.runtime.progress import progress

def run(*_, **__):
    log = logging.getLogger("rca.stages.index")
    for item in progress(range(4), 4, "images"):
        time.sleep(0.2)
        if item == 2:
            log.info("a line amid the work")
    {end}

import sys, types
sys.modules["rca.stages.index"] = types.SimpleNamespace(run=run)
sys.argv = ["rca", "index", "--data", "d", "--out", "o"]
main()
"""


def on_terminal(folder: Path, end: str = "pass") -> str:
    """What the terminal gets of a stage that counts four images."""
    (folder / "params.yaml").write_bytes((ROOT / "configs/debug.yaml").read_bytes())
    command = [sys.executable, "-c", STAGE.format(end=end)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TERM": "xterm"}
    return terminal_picture.on_terminal(command, folder, environment)[0]


def lines(caplog) -> list[str]:
    return [record.getMessage().partition(",")[0] for record in caplog.records]


def test_progress__counts_what_an_item_holds(caplog):
    caplog.set_level(logging.INFO, "rca")
    batches = ["abc", "de", "f"]
    assert list(progress(batches, 6, "letters", every=0, weigh=len)) == batches
    assert lines(caplog) == ["letters 3/6 (50 %)", "letters 5/6 (83 %)", "letters 6 done in 0 s"]


def test_byte_progress__counts_from_where_it_begins(caplog):
    caplog.set_level(logging.INFO, "rca")
    chunks = [bytes(10**6)] * 2
    assert list(byte_progress(chunks, 2 * 10**6, 4 * 10**6, "a.tar", every=0)) == chunks
    assert lines(caplog) == ["a.tar 3 of 4 MB (75 %)", "a.tar 4 MB done in 0 s"]


def test_progress__of_a_process_that_is_not_to_speak_is_silent(caplog, tmp_path, monkeypatch):
    monkeypatch.setenv(VARIABLE, str(tmp_path / "events"))
    caplog.set_level(logging.WARNING, "rca")
    assert list(progress("abc", 3, "letters", every=0)) == ["a", "b", "c"]
    assert not caplog.records and not (tmp_path / "events").exists()


def test_progress__tells_the_engine_of_begin_and_end(tmp_path, monkeypatch, caplog):
    monkeypatch.setenv(VARIABLE, str(tmp_path / "events"))
    caplog.set_level(logging.INFO, "rca")
    list(progress("abc", 3, "letters"))
    told = [json.loads(line) for line in (tmp_path / "events").read_text().splitlines()]
    assert told == [
        {"bar": "letters", "done": 0, "total": 3, "count": "0/3"},
        {"bar": "letters", "done": 3, "total": 3, "count": "3/3"},
    ]


def test_progress__that_cannot_be_told_stops_nothing(tmp_path, monkeypatch, caplog):
    monkeypatch.setenv(VARIABLE, str(tmp_path / "gone/events"))
    caplog.set_level(logging.INFO, "rca")
    assert list(progress("ab", 2, "letters")) == ["a", "b"]


def test_terminal__shows_a_bar_that_goes_and_keeps_the_log(tmp_path):
    said = on_terminal(tmp_path)
    assert "3/4" in said and "━" in said
    assert said.rindex("━") < said.index("index: done (")  # it is gone when the result is said
    assert "index: a line amid the work\r\n" in said
    assert "4 done in" not in said


def test_terminal__is_given_back_before_a_last_message(tmp_path):
    said = on_terminal(tmp_path, "for _ in progress(range(2), 2, 'more'): raise MemoryError")
    shown = "\x1b[?25h"  # the cursor
    assert said.rindex(shown) < said.index("rca: not enough memory")
    assert "━" not in said[said.index("rca: not enough memory") :]
