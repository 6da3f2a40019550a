"""workflow/engine/snakemake.py: DVC's answer as Snakemake gets it, on a small pipeline."""

from __future__ import annotations

import fcntl
import gc
from pathlib import Path

import pytest
from dvc.repo import Repo

from rca import config
from rca.config import ConfigError
from workflow.engine.dvc import no_garbage_collection

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:dvc")

ROOT = Path(__file__).parents[2]
DEBUG = config.load(ROOT / "configs/debug.yaml")
PIPELINE = """
stages:
  first:
    desc: Copy
    cmd: mkdir -p out; cp params.yaml out/first
    params: [a]
    outs: [out/first]
    meta: {slurm: {gpu: 1, mem_mb: 100, runtime: 5, cpus_per_task: 2}}
  second:
    matrix: {item: [x, y]}
    cmd: cat out/first > out/second.${item.item}; echo ${b} >> out/second.${item.item}
    deps: [out/first]
    outs: ["out/second.${item.item}"]
    meta: {slurm: {gpu: 1, mem_mb: 100, runtime: 5}, shards: 3}
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


@pytest.fixture(autouse=True)
def repo(dvc_folder) -> Path:
    """A folder with a DVC pipeline that has run."""
    Path("dvc.yaml").write_text(PIPELINE)
    Path("params.yaml").write_text("a: 1\nb: 1\n")
    with Repo(".") as dvc:
        dvc.reproduce()
    return dvc_folder


def marked(stages) -> set[str]:
    return {file.name for file in stages.MARKS.iterdir() if not file.name.startswith(".")}


def shared(stages) -> set[str]:
    """Marks of shards."""
    return {
        file.relative_to(stages.MARKS / ".shards").as_posix()
        for file in stages.MARKS.glob(".shards/*/*")
    }


def test_plan__marks_everything_when_all_is_fresh(stages):
    stages.plan(DEBUG)

    assert marked(stages) == ALL


def test_plan__leaves_out_what_is_stale_and_what_follows(stages):
    stages.plan(DEBUG)
    Path("params.yaml").write_text("a: 2\nb: 1\n")
    stages._guard.close()
    stages.plan(DEBUG)

    assert marked(stages) == {"alone"}


def test_plan__goes_by_content(stages):
    Path("out/first").touch()

    stages.plan(DEBUG)

    assert marked(stages) == ALL


def test_plan__sees_a_deleted_output(stages):
    Path("out/second.x").unlink()

    stages.plan(DEBUG)

    assert marked(stages) == {"first", "second@y", "alone"}


def test_plan__describes_the_stages(stages):
    plan = {stage["name"]: stage for stage in stages.plan(DEBUG)}

    assert list(plan) == ["first", "second@x", "second@y", "third", "alone"]
    assert plan["third"]["local"] and not plan["first"]["local"]
    asked = {"gpu": 1, "mem_mb": 100, "runtime": 5, "cpus_per_task": 2}
    assert plan["first"]["resources"] == asked
    assert plan["first"]["shards"] == 1 and stages.shard_marks(plan["first"]) == []
    assert plan["second@x"]["shards"] == 3
    assert plan["first"]["desc"] == "Copy"
    assert plan["second@x"]["rule"] == "second_x"
    assert plan["second@x"]["log"] == "logs/debug/second_x.log"
    # A dependency on a folder is one on all that is made in it.
    assert plan["third"]["needs"] == ["first", "second@x", "second@y"]
    assert stages.read_plan() == list(plan.values())


def test_plan__marks_shards_with_their_stage(stages):
    every = {f"second@{item}/{number}of3" for item in "xy" for number in (1, 2, 3)}
    stages.plan(DEBUG)
    assert shared(stages) == every

    Path("out/second.x").unlink()
    stages._guard.close()
    stages.plan(DEBUG)
    assert shared(stages) == {name for name in every if name.startswith("second@y")}


def test_plan__on_the_cpu_no_gpu_is_asked_for(stages):
    compute = DEBUG.compute.model_copy(update={"device": "cpu"})
    plan = {
        stage["name"]: stage for stage in stages.plan(DEBUG.model_copy(update={"compute": compute}))
    }

    assert plan["first"]["resources"] == {"mem_mb": 100, "runtime": 5, "cpus_per_task": 2}


@pytest.mark.parametrize(
    ("gpus", "nodes", "wanted"),
    [
        (1, 1, {"cpus_per_task": 8, "mem_mb": 100, "gpu": 1}),
        (4, 1, {"cpus_per_task": 32, "mem_mb": 400, "gpu": 4}),
        (
            4,
            2,
            {
                "cpus_per_task": 32,
                "mem_mb": 400,
                "gres": "gpu:4",
                "nodes": 2,
                "tasks": 2,
                "tasks_per_gpu": 0,
                "mpi": "srun",
            },
        ),
    ],
)
def test_resources__a_task_a_node_with_cores_and_memory_for_its_gpus(stages, gpus, nodes, wanted):
    asked = stages._resources(on_cpu=False, gpu=gpus, nodes=nodes, cpus_per_task=8, mem_mb=100)

    assert asked == wanted


def test_plan__clears_what_a_killed_snakemake_left(stages):
    leftovers = [Path(".snakemake/locks/0.input.lock"), Path(".snakemake/incomplete/a/b")]
    for file in leftovers:
        file.parent.mkdir(parents=True)
        file.touch()

    stages.plan(DEBUG)

    assert not any(file.exists() for file in leftovers)


def test_plan__leaves_a_running_snakemake_alone(stages):
    plan = stages.plan(DEBUG)
    stages._guard.close()
    lock = Path(".snakemake/locks/0.input.lock")
    lock.parent.mkdir()
    lock.touch()
    Path("params.yaml").write_text("a: 2\nb: 2\n")
    with (stages.MARKS / ".guard").open() as other:
        fcntl.flock(other, fcntl.LOCK_EX)

        assert stages.plan(DEBUG) == plan
    assert lock.exists() and marked(stages) == ALL


def test_plan__reports_what_dvc_cannot_resolve(stages):
    Path("params.yaml").write_text("a: 1\n")

    with pytest.raises(ConfigError, match="'b'"):
        stages.plan(DEBUG)


def test_plan__beside_a_snakemake_that_just_starts_says_to_wait(stages):
    stages.MARKS.mkdir(parents=True)
    with (stages.MARKS / ".guard").open("w") as other:
        fcntl.flock(other, fcntl.LOCK_EX)

        with pytest.raises(ConfigError, match="wait"):
            stages.plan(DEBUG)


def test_no_garbage_collection__ends_with_the_block_also_on_an_error():
    with pytest.raises(KeyError), no_garbage_collection():
        assert not gc.isenabled()
        raise KeyError
    assert gc.isenabled()
    gc.disable()
    try:
        with no_garbage_collection():
            pass
        assert not gc.isenabled()  # as it was
    finally:
        gc.enable()
