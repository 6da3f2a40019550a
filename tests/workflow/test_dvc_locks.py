"""Lock files that DVC did not finish writing do not stop the next run."""

from __future__ import annotations

import subprocess
import threading
from pathlib import Path

import pytest

from workflow.engine.dvc import mend

WHOLE = "schema: '2.0'\nstages:\n  a:\n    cmd: echo a\n"
LATER = WHOLE + "  b:\n    cmd: echo b\n"
HALVES = {"empty": "", "cut in a key": LATER[: LATER.rindex(":")], "cut in a quote": WHOLE[:12]}


@pytest.fixture
def lock(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    subprocess.run(["git", "init", "--quiet"], check=True)
    return tmp_path / "dvc.lock"


def commit(lock: Path) -> None:
    lock.write_text(WHOLE)
    subprocess.run(["git", "add", "dvc.lock"], check=True)
    who = ["-c", "user.name=t", "-c", "user.email=t@t"]
    subprocess.run(["git", *who, "commit", "--quiet", "--message", "lock"], check=True)


@pytest.mark.parametrize("half", HALVES.values(), ids=HALVES)
def test_mend__half_a_lock_gives_way_to_the_committed_one(lock, half, capsys):
    commit(lock)
    lock.write_text(half)
    mend(patience=0)
    assert lock.read_text() == WHOLE
    assert Path("dvc.lock.broken").read_text() == half
    assert "the committed one took its place" in capsys.readouterr().err


def test_mend__half_a_lock_that_was_never_committed_goes(lock):
    lock.write_text("")
    mend(patience=0)
    assert not lock.exists()
    mend(patience=0)  # and none is fine


def test_mend__leaves_a_whole_lock_alone_and_one_that_is_being_written(lock):
    commit(lock)
    lock.write_text(LATER)
    mend(patience=0)
    assert lock.read_text() == LATER
    lock.write_text("")
    writer = threading.Timer(0.5, lock.write_text, [LATER])
    writer.start()
    mend(patience=60)
    writer.join()
    assert lock.read_text() == LATER
    assert not Path("dvc.lock.broken").exists()


@pytest.mark.parametrize("half", ["", '{"write": {"/a": {"pi'])
def test_mend__half_a_table_of_readers_and_writers_goes(lock, half):
    table = Path(".dvc/tmp/rwlock")
    table.parent.mkdir(parents=True)
    table.write_text(half)
    mend(patience=0)
    assert not table.exists()
    table.write_text('{"read": {}}')
    mend(patience=0)
    assert table.read_text() == '{"read": {}}'
