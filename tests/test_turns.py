"""One process at a time makes a result; shares of it are made side by side."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from rca.cli import turns
from rca.cli.stages import track
from rca.config import ConfigError

ROOT = Path(__file__).parents[1]
HOLD = """
import sys, time
from pathlib import Path
from rca.cli.turns import turn
share = Path(sys.argv[1]) if len(sys.argv) > 1 else None
with turn(Path("results/a"), share):
    print("holding", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def holder(tmp_path, monkeypatch):
    """Starts other processes that hold a turn, and ends them."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(turns, "PATIENCE", 0.3)
    processes = []

    def start(*share: str, rank: str = "0") -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-c", HOLD, *share],
            env={**os.environ, "PYTHONPATH": str(ROOT), "RANK": rank},
            stdout=subprocess.PIPE,
            text=True,
        )
        processes.append(process)
        assert process.stdout.readline() == "holding\n"
        return process

    yield start
    for process in processes:
        process.kill()
        process.communicate()


def test_turn__another_process_is_named(holder):
    other = holder()

    with (
        pytest.raises(ConfigError, match=rf"results/a: process {other.pid} on \S+ is writing it"),
        turns.turn(Path("results/a")),
    ):
        pass


def test_track__does_not_write_what_another_process_writes(holder):
    holder()

    with pytest.raises(ConfigError, match=r"results/a: process .* is writing it"):
        track(Path("results"), Path("results/a"))


def test_turn__is_free_once_the_other_was_killed(holder):
    other = holder()
    other.send_signal(signal.SIGKILL)
    other.wait()

    with turns.turn(Path("results/a")), turns.turn(Path("results/b")):
        pass


def test_turn__is_waited_for(holder, monkeypatch, caplog):
    monkeypatch.setattr(turns, "PATIENCE", 60)
    other = holder()
    monkeypatch.setattr(time, "sleep", lambda _: (other.kill(), other.wait()))

    with caplog.at_level("INFO"), turns.turn(Path("results/a")):
        pass

    assert re.search(rf"waiting for process {other.pid} on \S+, which is writing", caplog.text)


def test_turn__shares_are_made_side_by_side_but_each_once(holder):
    holder("results/a/1-of-2")
    whole, first, second = Path("results/a"), "results/a/1-of-2", "results/a/2-of-2"

    with turns.turn(whole, Path(second)):
        pass
    with pytest.raises(ConfigError, match="1-of-2"), turns.turn(whole, Path(first)):
        pass
    with pytest.raises(ConfigError, match="results/a: "), turns.turn(whole):
        pass


def test_turn__of_one_training_the_first_process_takes_it(holder, monkeypatch):
    holder()
    monkeypatch.setenv("RANK", "1")

    with turns.turn(Path("results/a")):
        pass


def test_turn__of_another_machine_is_waited_for_but_not_obeyed(holder, monkeypatch, caplog):
    holder()
    monkeypatch.setattr("socket.gethostname", lambda: "another-node")

    with turns.turn(Path("results/a")):
        pass

    assert "may still be writing it, or has ended; continuing" in caplog.text


def test_turn__where_there_are_no_locks_none_is_taken(tmp_path, monkeypatch):
    def lockf(*_):
        raise OSError(95, "Operation not supported")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("fcntl.lockf", lockf)

    with turns.turn(Path("results/a")):
        pass
