"""Both engines on what is left to do, all through the life of a checkout.

The stages are small programs, so that every engine can really run them; each turn asks both what is
left, lets one of them do it, and asks again.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from dvc.repo import Repo

from rca import config

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore::DeprecationWarning:dvc")]

DEBUG = config.load(Path(__file__).parents[2] / "configs/debug.yaml")
PIPELINE = """
stages:
  load:
    cmd: cat raw > load
    deps: [raw]
    outs: [load]
  train:
    cmd: sh train.sh ${lr} > train
    deps: [load, train.sh]
    params: [lr]
    outs: [train]
  infer:
    foreach: [x, y]
    do:
      cmd: mkdir -p infer; cat train > infer/${item}; echo ${item} >> infer/${item}
      deps: [train]
      outs: ["infer/${item}"]
      meta: {slurm: {mem_mb: 100}, shards: 2}
  score:
    cmd: cat infer/* > score.txt
    deps: [infer]
    metrics: [score.txt]
  alone:
    cmd: cat raw raw > alone
    deps: [raw]
    outs: [alone]
"""
BELOW_TRAIN = {"infer@x", "infer@y", "score"}
ALL = {"load", "train", "alone"} | BELOW_TRAIN


@pytest.fixture
def checkout(tmp_path, monkeypatch) -> Path:
    root = tmp_path / "checkout"
    root.mkdir()
    monkeypatch.chdir(root)
    monkeypatch.setenv("DVC_SITE_CACHE_DIR", str(tmp_path / "site"))
    git("init")
    Repo.init(".").close()
    for name, text in {
        "dvc.yaml": PIPELINE,
        "params.yaml": "lr: 1\n",
        "raw": "raw\n",
        "train.sh": 'cat load; echo "lr $1"\n',
        ".gitignore": ".snakemake\n",
    }.items():
        Path(name).write_text(text)
    with Repo(".") as repo, repo.config.edit() as settings:
        settings["remote"] = {"shared": {"url": str(tmp_path / "remote")}}
        settings["core"] = {"remote": "shared"}
    return root


def git(*command: str) -> None:
    who = ("-c", "user.name=test", "-c", "user.email=test@localhost", "-c", "commit.gpgsign=false")
    subprocess.run(["git", *who, *command], check=True, capture_output=True)


def left_to_snakemake(stages) -> set[str]:
    """Stages that Snakemake would run: those without a mark, once it has asked DVC."""
    plan = stages.plan(DEBUG)
    stages._guard.close()
    left = {stage["name"] for stage in plan if not (stages.MARKS / stage["name"]).exists()}
    for stage in plan:
        for mark in stages.shard_marks(stage):
            assert mark.exists() == (stage["name"] not in left)
    return left


def by_dvc(stages) -> set[str]:
    """`dvc repro`; what it ran."""
    with Repo(".") as repo:
        return {stage.addressing for stage in repo.reproduce()}


def by_snakemake(stages) -> set[str]:
    """The jobs that Snakemake starts, in their order; the stages that ran."""
    ran = set()
    for stage in _ordered(stages.read_plan()):
        if not (stages.MARKS / stage["name"]).exists():
            with Repo(".") as repo:
                ran |= {done.addressing for done in repo.reproduce(stage["name"], single_item=True)}
            (stages.MARKS / stage["name"]).touch()
    return ran


def _ordered(plan: list) -> list:
    """Stages after those that they need."""
    done: list = []
    while len(done) < len(plan):
        names = {stage["name"] for stage in done}
        done += [s for s in plan if s["name"] not in names and set(s["needs"]) <= names]
    return done


def test_engines__agree_on_what_is_left(checkout, stages):
    def turn(engine, expected: set[str]) -> None:
        assert left_to_snakemake(stages) == expected
        assert engine(stages) == expected
        assert left_to_snakemake(stages) == set()
        assert by_dvc(stages) == set()

    turn(by_snakemake, ALL)
    git("add", ".")
    git("commit", "-m", "first")

    Path("params.yaml").write_text("lr: 2\n")
    turn(by_dvc, {"train"} | BELOW_TRAIN)
    git("commit", "-a", "-m", "another rate")

    for name in ("raw", "train", "infer/x", "params.yaml", "dvc.yaml", "train.sh"):
        Path(name).touch()
    turn(by_snakemake, set())

    Path("train.sh").write_text('cat load; echo "rate $1"\n')
    turn(by_snakemake, {"train"} | BELOW_TRAIN)

    Path("infer/y").unlink()
    assert left_to_snakemake(stages) == {"infer@y", "score"}
    by_snakemake(stages)  # DVC has it in its cache, and the score of it is known
    turn(by_dvc, set())

    git("checkout", "--force", "HEAD^")
    with Repo(".") as repo:
        repo.checkout(force=True)
    assert "lr 1" in Path("score.txt").read_text()
    turn(by_snakemake, set())


def test_engines__find_nothing_left_in_a_fresh_clone_with_its_data(
    checkout, stages, tmp_path, monkeypatch
):
    by_dvc(stages)
    with Repo(".") as repo:
        repo.push()
    git("add", ".")
    git("commit", "-m", "all")
    git("clone", ".", str(tmp_path / "clone"))
    shutil.rmtree(checkout)
    monkeypatch.chdir(tmp_path / "clone")

    assert left_to_snakemake(stages) == ALL
    with Repo(".") as repo:
        repo.pull()

    assert left_to_snakemake(stages) == set()
    assert by_dvc(stages) == set()
