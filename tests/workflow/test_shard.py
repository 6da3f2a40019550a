"""A shard's job does its share, unless DVC has the whole result already."""

from __future__ import annotations

from pathlib import Path

import pytest
from dvc.repo import Repo

from workflow.engine import run_shard

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:dvc")

PIPELINE = """
stages:
  load:
    cmd: cp raw load
    deps: [raw]
    outs: [load]
  infer:
    cmd: sh infer.sh ${size}
    deps: [load]
    params: [size]
    outs: [infer]
"""
# Its last argument is the share; without one it writes the output.
INFER = 'case "$*" in *--shard*) echo "$*" >>shares;; *) cat load - <<END >infer\n$1\nEND\nesac\n'


@pytest.fixture
def share(dvc_folder, monkeypatch):
    """Run a shard; what the stage's command was called with, if at all."""
    for name, text in {
        "dvc.yaml": PIPELINE,
        "params.yaml": "size: 1\n",
        "raw": "raw\n",
        "infer.sh": INFER,
    }.items():
        Path(name).write_text(text)

    def share() -> str | None:
        Path("shares").unlink(missing_ok=True)
        monkeypatch.setattr("sys.argv", ["run_shard.py", "infer", "2/3"])
        assert run_shard.main() == 0
        return Path("shares").read_text().strip() if Path("shares").exists() else None

    repro("load")
    return share


def repro(*targets: str) -> None:
    with Repo(".") as repo:
        repo.reproduce(*targets)


def test_shard__runs_the_stages_command_with_its_share(share):
    assert share() == "1 --shard 2/3"


def test_shard__after_a_change_runs(share):
    repro()
    Path("params.yaml").write_text("size: 2\n")
    assert share() == "2 --shard 2/3"

    Path("params.yaml").write_text("size: 1\n")
    Path("raw").write_text("other\n")
    repro("load")
    assert share() == "1 --shard 2/3"


def test_shard__rests_if_dvc_has_the_result(share):
    repro()
    assert share() is None

    Path("infer").unlink()
    assert share() is None

    Path("params.yaml").write_text("size: 2\n")
    repro()
    Path("params.yaml").write_text("size: 1\n")
    assert share() is None


def test_shard__rests_not_if_the_result_left_the_cache(share):
    repro()
    Path("infer").unlink()
    for file in Path(".dvc/cache/files").rglob("*"):
        if file.is_file():
            file.unlink()

    assert share() == "1 --shard 2/3"


def test_shard__fails_with_its_command(share, monkeypatch):
    Path("infer.sh").write_text("exit 3\n")
    monkeypatch.setattr("sys.argv", ["run_shard.py", "infer", "1/3"])

    assert run_shard.main() == 3
