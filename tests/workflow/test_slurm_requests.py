"""What Slurm would be asked for, as `snakemake --cores all --profile slurm -n` prints it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow  # starts Snakemake

ROOT = Path(__file__).parents[2]
SNAKEMAKE = Path(sys.executable).parent / "snakemake"
PIPELINE = """
stages:
  small: {cmd: touch small, params: [seed], outs: [small]}
  train:
    cmd: touch train
    deps: [small]
    outs: [train]
    meta: {slurm: {gpu: 4, nodes: 2, cpus_per_task: 8, mem_mb: 24000, runtime: 720}}
  infer:
    cmd: touch infer
    deps: [train]
    outs: [infer]
    meta: {slurm: {gpu: 1, cpus_per_task: 8, mem_mb: 16000, runtime: 240}, shards: 3}
  fit:
    cmd: touch fit
    deps: [infer]
    outs: [fit]
    meta:
      slurm: {gpu: 1, cpus_per_task: 8, mem_mb: 16000, runtime: 240}
      shards: 2
      join: computes
  score:
    cmd: touch score
    deps: [fit]
    outs: [score]
    meta: {slurm: {mem_mb: 8000, runtime: 120}}
"""


@pytest.fixture(scope="module")
def requests(tmp_path_factory) -> list[tuple[str, dict[str, str]]]:
    """Rule and sbatch options of every job, of a site that set its account and partitions."""
    root = tmp_path_factory.mktemp("site")
    for name in ("Snakefile", "params.yaml", ".dvc/config", "slurm/config.yaml"):
        (root / name).parent.mkdir(exist_ok=True)
        shutil.copyfile(ROOT / name, root / name)
    shutil.copytree(ROOT / "workflow", root / "workflow")
    (root / "data").mkdir()
    (root / "data/embedded").symlink_to(ROOT / "data/embedded")
    (root / "dvc.yaml").write_text(PIPELINE)
    profile = root / "slurm/config.yaml"
    text = profile.read_text()
    for old, new in (
        ("slurm_partition: cpu", "slurm_partition: batch"),
        ("# slurm_account: my_project", "slurm_account: my_project"),
        ("gpu_partition=gpu", "gpu_partition=a100"),
    ):
        assert old in text
        text = text.replace(old, new)
    profile.write_text(text)
    subprocess.run(["git", "init", "--quiet", "."], cwd=root, check=True)
    run = subprocess.run(
        [
            Path(sys.executable).parent / "snakemake",
            *["--cores", "all", "--profile", "slurm", "-n"],
        ],
        cwd=root,
        env={**os.environ, "DVC_SITE_CACHE_DIR": str(root / ".site")},
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    return [
        (rule, dict(re.findall(r" (--?[\w-]+)(?:[ =]([^-\s]\S*))?", call)))
        for rule, call in re.findall(r"^(\w+): sbatch(.*)$", run.stdout, re.MULTILINE)
    ]


def asked(requests, rule: str) -> dict[str, str]:
    """Options of the only job of a rule, without those that are the same for all."""
    (options,) = (options for name, options in requests if name == rule)
    common = {"--parsable", "--job-name", "--output", "--export", "--comment"}
    return {key: value for key, value in options.items() if key not in common}


SITE = {"-A": "my_project", "--no-requeue": "", "--signal": "USR1@120"}


def test_requests__heavy_stages_and_shards_alone(requests):
    assert [rule for rule, _ in requests] == [
        *["train", *["infer_shard"] * 3, "infer"],
        *[*["fit_shard"] * 2, "fit", "score"],
    ]


def test_request__several_nodes_are_one_job_with_a_task_a_node(requests):
    assert asked(requests, "train") == {
        **SITE,
        "-p": "a100",
        "-t": "720",
        "--mem": "96000",
        "--nodes": "2",
        "--ntasks": "2",
        "--cpus-per-task": "32",
        "--gres": "gpu:4",
    }


NO_GPU = {"-t": "240", "--mem": "16000", "--cpus-per-task": "8"}
ONE_GPU = {**NO_GPU, "-p": "a100", "--gpus": "1"}


def test_request__each_shard_asks_as_its_stage_would_without_shards(requests):
    for wanted, number in (("infer_shard", 3), ("fit_shard", 2)):
        shards = [options for rule, options in requests if rule == wanted]
        assert len(shards) == number
        assert all(options.items() >= ONE_GPU.items() for options in shards)


def test_request__what_merges_shards_asks_for_no_gpu_unless_it_computes(requests):
    merging = asked(requests, "infer")
    assert merging.items() >= {**NO_GPU, "-p": "batch"}.items()
    assert "--gpus" not in merging
    assert asked(requests, "fit").items() >= ONE_GPU.items()


def test_request__without_a_gpu(requests):
    assert asked(requests, "score") == {
        **SITE,
        "-p": "batch",
        "-t": "120",
        "--mem": "8000",
        "--ntasks": "1",
        "--cpus-per-task": "1",
    }
