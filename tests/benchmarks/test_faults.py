"""The campaign of faults: its parts, and a short one of every kind."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.faults.damage import WAYS, damage
from benchmarks.faults.forks import Ended
from benchmarks.faults.interruptions import KINDS
from benchmarks.faults.tables import PAGE, RECORD, page_table

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("way", WAYS)
def test_damage__changes_the_file_and_no_other_name_of_it(tmp_path, way):
    file, twin = tmp_path / "a", tmp_path / "b"
    content = bytes(range(1, 256)) * 40
    file.write_bytes(content)
    twin.hardlink_to(file)

    damage(file, way, random.Random(0))

    assert file.read_bytes() != content
    assert twin.read_bytes() == content


def test_damage__the_same_draws_damage_alike(tmp_path):
    damaged = []
    for name in ("a", "b"):
        (tmp_path / name).write_bytes(b"content" * 100)
        damage(tmp_path / name, "bit flipped", random.Random(7))
        damaged.append((tmp_path / name).read_bytes())
    assert damaged[0] == damaged[1]


@pytest.mark.parametrize(
    ("status", "text", "refused"),
    [
        (2, "12:00:00 crf: refined\nrca: params.yaml: wrong\n  a line more\n", True),
        (1, "rca: params.yaml: wrong\n", False),
        (2, "usage: rca\n", False),
        (2, "Traceback (most recent call last):\nrca: x\n", False),
        (-9, "", False),
    ],
)
def test_refused__is_one_message_and_status_2(status, text, refused):
    assert Ended(status, text).refused == refused


def test_page__has_the_recorded_table():
    tables = json.loads((ROOT / RECORD).read_text())["tables"]
    assert page_table(tables) in (ROOT / PAGE).read_text()


def test_page_table__has_a_row_for_each_kind():
    table = page_table({"inputs": {"masks": {"refused": 3, "trusted": 1}}})
    assert table.splitlines()[-1] == "| inputs: masks | 0 | 3 | 0 | 0 | 1 |"


@pytest.mark.pipeline
def test_campaign__every_kind_of_fault_once(tmp_path):
    out = tmp_path / "faults.json"
    counts = ["--trials", str(len(KINDS)), "--inputs", "6", "--engines", "0"]
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.faults", *counts, "--seed", "1", "--out", str(out)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=900,
    )

    record = json.loads(out.read_text()) if out.exists() else {}
    assert done.returncode == 0, done.stdout + done.stderr
    assert record["trials"] == len(KINDS) + 6 and record["wrong"] == []
    assert set(record["tables"]["interruptions"]) == set(KINDS)
