"""The reproducibility check: what it says of two locks, and that it fails where it must."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tools.checkout import copy_checkout
from workflow import reproduce

ROOT = Path(__file__).parents[2]


def stage(out: str, *, code: str = "c0", source: str = "s0", **params) -> dict:
    """An entry of dvc.lock."""
    return {
        "deps": [{"path": "rca/stages/x.py", "md5": code}, {"path": "data", "md5": source}],
        "params": {"params.yaml": params},
        "outs": [{"path": "results/x", "md5": out, "size": 1000, "nfiles": 2}],
    }


def test_differing__takes_outputs_alone_in_the_order_of_the_pipeline():
    wanted = {"a": stage("1"), "b": stage("2"), "c": stage("3")}
    found = {"a": stage("1", code="c1"), "c": stage("9"), "b": stage("8"), "d": stage("4")}

    assert reproduce.differing(wanted, found) == ["c", "b", "d"]
    assert reproduce.differing(wanted, {"a": stage("1")}) == []  # not all stages were asked for


def test_explain__names_parameter_code_and_what_follows():
    wanted = {"a": stage("1", seed=0, view={"size": 8}), "b": stage("2", source="1")}
    found = {
        "a": stage("7", code="c1", seed=1, view={"size": 9}),
        "b": stage("8", source="7"),
    }

    assert reproduce.explain(wanted, found).splitlines() == [
        "a is the first stage that differs:",
        "  results/x: 2 files, 1,000 bytes, MD5 1… → 2 files, 1,000 bytes, MD5 7…",
        "what went into it and was otherwise before:",
        "  parameter seed: 0 → 1",
        "  parameter view.size: 8 → 9",
        "  code rca/stages/x.py",
        "after it differ: b",
        "if that is meant: make reproduce RECORD=1, and commit the lock",
    ]


def test_explain__says_where_nothing_explains_it():
    assert "it does not repeat itself" in reproduce.explain({"a": stage("1")}, {"a": stage("2")})


@pytest.mark.parametrize(
    ("recorded", "at_lock", "status", "message"),
    [
        ({"processor": "this"}, None, 1, "make reproduce RECORD=1"),
        # This machine rounds otherwise, and would have when the lock was made.
        ({"processor": "other"}, stage("2", code="c0"), 0, "give the same bytes"),
        ({"processor": "other"}, stage("3", code="c0"), 1, "code rca/stages/x.py"),
        ({"processor": "other"}, stage("3", code="c1"), 1, "does not repeat itself"),
    ],
)
def test_compare__on_another_machine_runs_the_locks_commit_too(
    monkeypatch, tmp_path, capsys, recorded, at_lock, status, message
):
    runs = {"HEAD": {"a": stage("2", code="c1")}, "commit": {"a": at_lock}}
    monkeypatch.setattr(
        "workflow.reproduce.run_clone", lambda preset, targets, commit="HEAD": runs[commit]
    )
    monkeypatch.setattr("workflow.reproduce.machine", lambda: {"processor": "this"})
    monkeypatch.setattr("workflow.reproduce.last_change", lambda _: "commit")
    lock = tmp_path / "debug.lock"
    lock.write_text(yaml.safe_dump({"machine": recorded, "stages": {"a": stage("1")}}))

    assert reproduce.compare(lock, "debug", []) == status
    assert message in capsys.readouterr().out


@pytest.fixture(scope="module")
def clone(tmp_path_factory) -> Path:
    """A repository of one's own to edit, with a lock of its first two stages from here and now."""
    root = tmp_path_factory.mktemp("reproduce") / "clone"
    copy_checkout(root, ("docs/", "tests/"))
    commit(root)
    assert "recorded" in check(root, "--record", "train_cam").stdout
    commit(root)
    return root


def commit(root: Path) -> None:
    identity = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
    for command in (["add", "--all"], [*identity, "commit", "--quiet", "--message", "edit"]):
        subprocess.run(["git", *command], cwd=root, check=True)


def check(root: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "workflow/reproduce.py", *arguments],
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )


@pytest.mark.pipeline
@pytest.mark.parametrize(
    ("file", "old", "new", "until", "named"),
    [
        ("configs/debug.yaml", "limit: 8", "limit: 7", "index", "parameter index.limit: 8 → 7"),
        ("configs/debug.yaml", "seed: 0", "seed: 1", "train_cam", "parameter seed: 0 → 1"),
        (
            "rca/data/views.py",
            "0.485, 0.456, 0.406",
            "0.5, 0.456, 0.406",
            "train_cam",
            "code rca/data/views.py",
        ),
        ("README.md", "RCA", "R C A", "index", None),
    ],
)
def test_check__fails_where_an_edit_changes_what_comes_out(clone, file, old, new, until, named):
    path = clone / file
    before = path.read_text()
    assert old in before
    path.write_text(before.replace(old, new))
    commit(clone)

    run = check(clone, until)

    path.write_text(before)
    commit(clone)
    assert run.returncode == (1 if named else 0), run.stdout + run.stderr
    if named:
        assert f"{until} is the first stage that differs" in run.stdout
        assert named in run.stdout
