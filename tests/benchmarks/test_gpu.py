"""The measurement of a GPU runs where there is none, at tiny sizes: it will work the first time."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import gpu

ROOT = Path(__file__).parents[2]


def test_measured__a_part_that_fails_is_noted():
    def broken():
        raise RuntimeError("no kernel image\nis available")

    found = gpu.measured(broken)

    assert found["failed"] == "RuntimeError: no kernel image"
    assert found["took_seconds"] >= 0


def test_table__has_a_line_for_each_figure():
    record = {"parts": {"step": {"batch 8": {"seconds": 0.123456, "peak_gb": None}}}}

    lines = gpu.table(record).splitlines()

    assert [line.split() for line in lines] == [
        ["step.batch", "8.seconds", "0.1235"],
        ["step.batch", "8.peak_gb", "None"],
    ]


@pytest.mark.pipeline
def test_gpu__every_part_works_on_a_cpu(tmp_path):
    out = tmp_path / "gpu.json"
    options = ["--quick", "--device", "cpu", "--minutes", "30", "--out", str(out)]
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.gpu", *options],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=1800,
    )

    assert done.returncode == 0, done.stderr
    parts = json.loads(out.read_text())["parts"]
    assert list(parts) == [
        "step", "method", "determinism", "one_process", "prototypes", "stages", "resume",
    ]  # fmt: skip
    assert not {name: part["failed"] for name, part in parts.items() if "failed" in part}
    assert len(parts["step"]) == 4 + 1  # and its own time
    assert parts["resume"]["killed"] and parts["resume"]["status_after_resuming"] == 0
    assert parts["resume"]["resumed_has_the_same_bytes"]
    assert parts["determinism"]["on"]["same_bytes"]
