"""workflow/stages.py: DVC's answer as Snakemake gets it, on a small pipeline."""

from __future__ import annotations

import fcntl
import importlib.util
import subprocess
from pathlib import Path

import pytest
from dvc.repo import Repo

from rca.config import ConfigError

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:dvc")

SOURCE = Path(__file__).parents[2] / "workflow/stages.py"
PIPELINE = """
stages:
  first:
    desc: Copy
    cmd: mkdir -p out; cp params.yaml out/first
    params: [a]
    outs: [out/first]
    meta: {slurm: {gpu: 1}}
  second:
    matrix: {item: [x, y]}
    cmd: cat out/first > out/second.${item.item}; echo ${b} >> out/second.${item.item}
    deps: [out/first]
    outs: ["out/second.${item.item}"]
  third:
    cmd: cat out/second.* > third
    deps: [out]
    outs: [third]
  alone:
    cmd: echo alone > alone
    params: [b]
    outs: [alone]
"""
ALL = {"first", "second@x", "second@y", "third", "alone"}


@pytest.fixture
def repo(tmp_path, monkeypatch) -> Path:
    """A folder with a DVC pipeline that has run."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DVC_SITE_CACHE_DIR", str(tmp_path / ".site"))
    subprocess.run(["git", "init", "--quiet", "."], check=True)
    Repo.init(".").close()
    Path("dvc.yaml").write_text(PIPELINE)
    Path("params.yaml").write_text("a: 1\nb: 1\n")
    with Repo(".") as dvc:
        dvc.reproduce()
    return tmp_path


@pytest.fixture
def stages(repo):
    """The module, fresh: it keeps a lock as long as it lives."""
    spec = importlib.util.spec_from_file_location("stages_under_test", SOURCE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module
    if module._guard:
        module._guard.close()


def marked(stages) -> set[str]:
    return {file.name for file in stages.MARKS.iterdir() if not file.name.startswith(".")}


def test_plan__marks_everything_when_all_is_fresh(stages):
    stages.plan("demo")

    assert marked(stages) == ALL


def test_plan__leaves_out_what_is_stale_and_what_follows(stages):
    stages.plan("demo")
    Path("params.yaml").write_text("a: 2\nb: 1\n")
    stages._guard.close()
    stages.plan("demo")

    assert marked(stages) == {"alone"}


def test_plan__goes_by_content(stages):
    Path("out/first").touch()

    stages.plan("demo")

    assert marked(stages) == ALL


def test_plan__sees_a_deleted_output(stages):
    Path("out/second.x").unlink()

    stages.plan("demo")

    assert marked(stages) == {"first", "second@y", "alone"}


def test_plan__describes_the_stages(stages):
    plan = {stage["name"]: stage for stage in stages.plan("demo")}

    assert list(plan) == ["first", "second@x", "second@y", "third", "alone"]
    assert plan["first"]["resources"] == {"gpu": 1} and plan["third"]["resources"] == {}
    assert plan["first"]["desc"] == "Copy"
    assert plan["second@x"]["rule"] == "second_x"
    assert plan["second@x"]["log"] == "logs/demo/second_x.log"
    # A dependency on a folder is one on all that is made in it.
    assert plan["third"]["needs"] == ["first", "second@x", "second@y"]
    assert stages.read_plan() == list(plan.values())


def test_plan__clears_what_a_killed_snakemake_left(stages):
    leftovers = [Path(".snakemake/locks/0.input.lock"), Path(".snakemake/incomplete/a/b")]
    for file in leftovers:
        file.parent.mkdir(parents=True)
        file.touch()

    stages.plan("demo")

    assert not any(file.exists() for file in leftovers)


def test_plan__leaves_a_running_snakemake_alone(stages):
    plan = stages.plan("demo")
    stages._guard.close()
    lock = Path(".snakemake/locks/0.input.lock")
    lock.parent.mkdir()
    lock.touch()
    Path("params.yaml").write_text("a: 2\nb: 2\n")
    with (stages.MARKS / ".guard").open() as other:
        fcntl.flock(other, fcntl.LOCK_EX)

        assert stages.plan("demo") == plan
    assert lock.exists() and marked(stages) == ALL


def test_plan__reports_what_dvc_cannot_resolve(stages):
    Path("params.yaml").write_text("a: 1\n")

    with pytest.raises(ConfigError, match="'b'"):
        stages.plan("demo")


def test_plan__beside_a_snakemake_that_just_starts_says_to_wait(stages):
    stages.MARKS.mkdir(parents=True)
    with (stages.MARKS / ".guard").open("w") as other:
        fcntl.flock(other, fcntl.LOCK_EX)

        with pytest.raises(ConfigError, match="wait"):
            stages.plan("demo")
